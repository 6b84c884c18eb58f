"""A mark for each state: states differ in shape and word as well as in colour."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from edge.overlay.sprites import Colour, Sprite, coloured
from edge.types import State

_FINE = 8
"""Drawn so many times larger, then averaged, for smooth edges."""


@lru_cache(maxsize=32)
def icon(state: State, size: int, colour: Colour) -> Sprite:
    """The mark of a state, size × size pixels.

    A triangle with an exclamation mark for fake, a disc with a tick for real, a disc with three
    dots for uncertain, a struck-out ring for no signal; what is beneath shows through the cut-outs.
    """
    picture = PillowImage.new("L", (size * _FINE, size * _FINE))
    _DRAWERS[state](_Pen(picture))
    small = picture.resize((size, size), PillowImage.Resampling.BOX)
    return coloured(np.asarray(small), colour)


class _Pen:
    """Draws in coordinates 0..1, right and down."""

    def __init__(self, picture: PillowImage.Image) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._side = picture.width

    def line(self, *points: tuple[float, float], width: float, fill: int) -> None:
        scaled = [(x * self._side, y * self._side) for x, y in points]
        self._draw.line(scaled, fill=fill, width=round(width * self._side), joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, fill)

    def disc(self, x: float, y: float, radius: float, fill: int) -> None:
        corners = (x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse([value * self._side for value in corners], fill=fill)

    def polygon(self, *points: tuple[float, float], fill: int) -> None:
        self._draw.polygon([(x * self._side, y * self._side) for x, y in points], fill=fill)


def _fake(pen: _Pen) -> None:
    corners = ((0.5, 0.12), (0.93, 0.88), (0.07, 0.88))
    pen.polygon(*corners, fill=255)
    pen.line(*corners, corners[0], width=0.12, fill=255)
    pen.line((0.5, 0.4), (0.5, 0.62), width=0.1, fill=0)
    pen.disc(0.5, 0.79, 0.06, fill=0)


def _real(pen: _Pen) -> None:
    pen.disc(0.5, 0.5, 0.47, fill=255)
    pen.line((0.28, 0.52), (0.44, 0.68), (0.73, 0.35), width=0.11, fill=0)


def _uncertain(pen: _Pen) -> None:
    pen.disc(0.5, 0.5, 0.47, fill=255)
    for x in (0.27, 0.5, 0.73):
        pen.disc(x, 0.5, 0.075, fill=0)


def _no_signal(pen: _Pen) -> None:
    pen.disc(0.5, 0.5, 0.47, fill=255)
    pen.disc(0.5, 0.5, 0.35, fill=0)
    pen.line((0.22, 0.22), (0.78, 0.78), width=0.12, fill=255)


_DRAWERS = {"fake": _fake, "real": _real, "uncertain": _uncertain, "no_signal": _no_signal}
