"""Pictures with a real face: the astronaut Eileen Collins, from a photograph of NASA's."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from skimage import data

from edge.types import Box, Image

FACE_XYXY: Box = (178, 65, 270, 177)
"""The face in the photograph, from brow to chin."""

POINTS = np.array([(203, 101), (246, 103), (224, 126), (203, 140), (244, 140)], np.float64)
"""Eyes, nose and corners of the mouth."""

HEAD_XYXY: Box = (123, 27, 323, 227)
"""A square about the head."""


@functools.cache
def photograph() -> Image:
    """The photograph, uint8 [512, 512, 3] BGR; not to be changed."""
    picture: Image = np.ascontiguousarray(data.astronaut()[..., ::-1])  # type: ignore[no-untyped-call]
    picture.setflags(write=False)
    return picture


@functools.cache
def head(side: int) -> Image:
    """The head alone, uint8 [side, side, 3] BGR; its face is about 0.44 of it wide."""
    left, top, right, bottom = HEAD_XYXY
    picture = photograph()[top:bottom, left:right]
    way = cv2.INTER_AREA if side < right - left else cv2.INTER_LINEAR
    return cv2.resize(picture, (side, side), interpolation=way)  # type: ignore[return-value]  # uint8


@functools.cache
def wall(height: int, width: int) -> Image:
    """A wall with soft spots and no face, uint8 [height, width, 3] BGR; not to be changed."""
    spots = np.random.default_rng(1).integers(60, 180, (9, 16, 3), np.uint8)
    picture = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    picture.setflags(write=False)
    return picture  # type: ignore[return-value]  # uint8


def scene(
    places: Sequence[tuple[int, int]],
    side: int = 220,
    size_hw: tuple[int, int] = (360, 640),
    light: Sequence[float] = (1.0,),
) -> Image:
    """Heads before the wall."""
    height, width = size_hw
    picture = wall(height, width).copy()
    for number, (x, y) in enumerate(places):
        lit = np.clip(head(side) * light[number % len(light)], 0, 255).astype(np.uint8)
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
        if left < right and top < bottom:
            picture[top:bottom, left:right] = lit[top - y : bottom - y, left - x : right - x]
    return picture


def crowd() -> Image:
    """Fifty people, uint8 [640, 1280, 3] BGR, whose faces are too small at half the size."""
    return scene(CROWD, 126, (640, 1280), (0.7, 0.9, 1.1))


CROWD = tuple((128 * column + 1, 128 * row + 1) for row in range(5) for column in range(10))
"""Left and top of the heads of the crowd."""
