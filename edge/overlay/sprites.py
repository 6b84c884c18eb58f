"""Small translucent pictures, made once and laid over frames many times."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.types import Image

Mask = npt.NDArray[np.uint8]
"""Coverage: uint8 [h, w], 0 nothing to 255 full."""

Colour = tuple[int, int, int]
"""BGR, 0..255 each."""


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A translucent picture with its colour multiplied by its coverage beforehand.

    Attributes:
        light: uint8 [h, w, 3] BGR, what it adds; read-only, since sprites are shared.
        keep: uint8 [h, w, 3], how much of the picture beneath stays; 255 is all of it. Likewise.
    """

    light: Image
    keep: Image

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.light.shape[0], self.light.shape[1]


def coloured(mask: Mask, colour: Colour, opacity: float = 1.0) -> Sprite:
    """A sprite of one colour.

    Args:
        mask: its coverage.
        colour: BGR.
        opacity: 0..1, multiplies the coverage.
    """
    light = np.empty((*mask.shape, 3), np.uint8)
    for channel, value in enumerate(colour):
        light[..., channel] = cv2.convertScaleAbs(mask, alpha=opacity * value / 255)
    keep = np.empty_like(light)
    keep[...] = (255 - cv2.convertScaleAbs(mask, alpha=opacity))[..., None]
    light.setflags(write=False)
    keep.setflags(write=False)
    return Sprite(light, keep)


def stamp(picture: Image, sprite: Sprite, x: int, y: int) -> None:
    """Lay a sprite over a picture, in place; what lies outside the picture is cut off.

    Args:
        picture: uint8 [H, W, 3] BGR.
        sprite: what to lay over it.
        x: column of its left edge.
        y: row of its top edge.
    """
    height, width = sprite.size_hw
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + height, picture.shape[0]), min(x + width, picture.shape[1])
    if top >= bottom or left >= right:
        return
    part = np.s_[top - y : bottom - y, left - x : right - x]
    blend(picture[top:bottom, left:right], sprite.light[part], sprite.keep[part])


def blend(picture: Image, light: Image, keep: Image) -> None:
    """picture ← picture · keep / 255 + light, in place; all uint8 [h, w, 3]."""
    cv2.multiply(picture, keep, dst=picture, scale=1 / 255)
    cv2.add(picture, light, dst=picture)
