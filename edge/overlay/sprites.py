"""Small translucent pictures, made once and drawn over frames many times: label badges, marks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge.overlay.style import Colour
from edge.types import Image, State

Mask = npt.NDArray[np.uint8]
"""Coverage: uint8 [h, w], 0 nothing to 255 full."""

_FINE = 8
"""Drawn this many times larger, then averaged, for smooth edges."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A translucent picture: what it adds, and how much of the picture beneath stays, 255 for all.

    Both are uint8 [h, w, 3] and read-only, since sprites are shared.
    """

    light: Image
    keep: Image


def coloured(mask: Mask, colour: Colour, opacity: float = 1.0) -> Sprite:
    """A sprite of one colour; the opacity, 0..1, multiplies the coverage."""
    light = np.empty((*mask.shape, 3), np.uint8)
    for channel, value in enumerate(colour):
        light[..., channel] = cv2.convertScaleAbs(mask, alpha=opacity * value / 255)
    keep = np.empty_like(light)
    keep[...] = (255 - cv2.convertScaleAbs(mask, alpha=opacity))[..., None]
    light.setflags(write=False)
    keep.setflags(write=False)
    return Sprite(light, keep)


def stamp(picture: Image, sprite: Sprite, x: int, y: int) -> None:
    """Draw a sprite over a picture, in place, its upper left corner at (x, y); cut at the edges."""
    height, width = sprite.light.shape[:2]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + height, picture.shape[0]), min(x + width, picture.shape[1])
    if top < bottom and left < right:
        part = np.s_[top - y : bottom - y, left - x : right - x]
        blend(picture[top:bottom, left:right], sprite.light[part], sprite.keep[part])


def blend(picture: Image, light: Image, keep: Image) -> None:
    """picture ← picture · keep / 255 + light, in place; all uint8 [h, w, 3]."""
    cv2.multiply(picture, keep, dst=picture, scale=1 / 255)
    cv2.add(picture, light, dst=picture)


@lru_cache(maxsize=12)
def badge(
    size_hw: tuple[int, int],
    colour: Colour,
    opacity: float = 1.0,
    top_radius: int = 0,
    bottom_radius: int = 0,
) -> Sprite:
    """What lies behind text: height × width pixels, the corners rounded."""
    mask = np.full(size_hw, 255, np.uint8)
    for radius, rows in ((top_radius, mask), (bottom_radius, mask[::-1])):
        if radius:
            disc = _Pen(2 * radius)
            disc.disc((0.5, 0.5), 0.5, 255)
            rows[:radius, :radius] = corner = disc.averaged()[:radius, :radius]
            rows[:radius, mask.shape[1] - radius :] = corner[:, ::-1]
    return coloured(mask, colour, opacity)


@lru_cache(maxsize=32)
def icon(state: State, size: int, colour: Colour) -> Sprite:
    """The mark of a state, size × size pixels, as states differ in shape as well as in colour."""
    pen = _Pen(size)
    if state == "fake":  # a triangle with an exclamation mark
        corners = ((0.5, 0.12), (0.93, 0.88), (0.07, 0.88))
        cv2.fillPoly(pen.mask, [pen.fixed(*corners)], 255)
        pen.line(*corners, corners[0], width=0.12, fill=255)
        pen.line((0.5, 0.4), (0.5, 0.62), width=0.1, fill=0)
        pen.disc((0.5, 0.79), 0.06, fill=0)
        return coloured(pen.averaged(), colour)
    pen.disc((0.5, 0.5), 0.47, fill=255)
    if state == "real":  # a tick
        pen.line((0.28, 0.52), (0.44, 0.68), (0.73, 0.35), width=0.11, fill=0)
    elif state == "uncertain":  # three dots
        for x in (0.27, 0.5, 0.73):
            pen.disc((x, 0.5), 0.075, fill=0)
    else:  # a struck-out ring
        pen.disc((0.5, 0.5), 0.35, fill=0)
        pen.line((0.22, 0.22), (0.78, 0.78), width=0.12, fill=255)
    return coloured(pen.averaged(), colour)


class _Pen:
    """Draws a square mask in coordinates 0..1, right and down."""

    def __init__(self, size: int) -> None:
        self.mask = np.zeros((size * _FINE, size * _FINE), np.uint8)

    def averaged(self) -> Mask:
        size = len(self.mask) // _FINE
        return np.asarray(
            cv2.resize(self.mask, (size, size), interpolation=cv2.INTER_AREA), np.uint8
        )

    def fixed(self, *points: Point) -> npt.NDArray[np.int32]:
        return np.asarray(np.rint(np.array(points) * len(self.mask)), np.int32)

    def line(self, *points: Point, width: float, fill: int) -> None:
        cv2.polylines(self.mask, [self.fixed(*points)], False, fill, round(width * len(self.mask)))

    def disc(self, centre: Point, radius: float, fill: int) -> None:
        x, y = self.fixed(centre)[0].tolist()
        cv2.circle(self.mask, (x, y), round(radius * len(self.mask)), fill, cv2.FILLED)
