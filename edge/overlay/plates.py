"""Plates that lie behind text."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from edge.overlay.sprites import Colour, Sprite, coloured

_FINE = 4
"""Drawn so many times larger, then averaged, for smooth corners."""


@lru_cache(maxsize=12)
def plate(
    size_hw: tuple[int, int],
    colour: Colour,
    opacity: float = 1.0,
    top_radius: int = 0,
    bottom_radius: int = 0,
) -> Sprite:
    """A plate of height × width pixels.

    Args:
        size_hw: its height and width.
        colour: BGR.
        opacity: 0..1.
        top_radius: of its upper corners, pixels.
        bottom_radius: of its lower corners.
    """
    mask = np.full(size_hw, 255, np.uint8)
    for radius, rows in ((top_radius, mask), (bottom_radius, mask[::-1])):
        corner = _corner(radius)
        rows[:radius, :radius] = corner
        rows[:radius, mask.shape[1] - radius :] = corner[:, ::-1]
    return coloured(mask, colour, opacity)


def _corner(radius: int) -> np.ndarray:
    """Coverage of an upper left corner, uint8 [radius, radius]."""
    if radius == 0:
        return np.zeros((0, 0), np.uint8)
    picture = PillowImage.new("L", (radius * _FINE, radius * _FINE))
    side = 2 * radius * _FINE - 1
    ImageDraw.Draw(picture).ellipse((0, 0, side, side), fill=255)
    return np.asarray(picture.resize((radius, radius), PillowImage.Resampling.BOX))
