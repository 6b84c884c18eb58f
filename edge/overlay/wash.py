"""Lays a wash of colour over a picture, from small levels to full pixels.

It works in strips of rows, and in each only over the columns that have any colour: what is in
between stays in the cache, and a frame with little colour costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.overlay.geometry import common, is_empty, union
from edge.overlay.lattice import Lattice, Levels
from edge.overlay.sprites import blend
from edge.types import Box, Image

_STRIP = 64
"""Rows of pixels blended at once, about."""


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A part of a wash.

    Attributes:
        box: xyxy, where it lies on the picture.
        light: what is added, uint8 [h, w, 3] BGR.
        keep: what remains of the picture below, in 255ths, alike.
    """

    box: Box
    light: Image
    keep: Image


def lay(picture: Image, strips: Iterable[Strip]) -> None:
    """Blend strips over a picture, uint8 [H, W, 3] BGR, in place."""
    for strip in strips:
        left, top, right, bottom = strip.box
        blend(picture[top:bottom, left:right], strip.light, strip.keep)


def wash(
    frame_hw: tuple[int, int],
    levels: Levels,
    lattice: Lattice,
    boxes: Sequence[Box],
    palette: Image,
) -> Iterator[Strip]:
    """Colour for the boxes, from top to bottom; everything outside them stays as it was.

    Args:
        frame_hw: height and width of the picture.
        levels: strength of the colour in each cell, 0 none; the cells cover the boxes.
        lattice: where the cells lie.
        boxes: xyxy, at least one; where they overlap the colour is laid once.
        palette: colour times opacity of each level, uint8 [1, 256, 3] BGR. Red must be full in
            every colour, so that the red of a tint is its opacity.
    """
    visible = common(union(boxes), (0, 0, frame_hw[1], frame_hw[0]))
    step = max(1, round(_STRIP / lattice.cell[1]))
    for first in range(0, len(levels), step):
        strip = _strip(levels, lattice, (first, min(first + step, len(levels))), palette)
        if strip is not None:
            light, bounds = strip
            part = common(bounds, visible)
            if not is_empty(part):
                yield _part_of(light, bounds, part, boxes)


def _strip(
    levels: Levels, lattice: Lattice, rows: tuple[int, int], palette: Image
) -> tuple[Image, Box] | None:
    """The colour of some rows of cells at full size, and where it belongs; None for no colour."""
    # One row and column more on each side, which the interpolation needs.
    above, below = max(0, rows[0] - 1), min(len(levels), rows[1] + 1)
    part = levels[above:below]
    x, _, width, _ = cv2.boundingRect(part)
    if width == 0:
        return None
    first, last = max(0, x - 1), min(levels.shape[1], x + width + 1)
    left, right = lattice.column(first), lattice.column(last)
    begin, end = lattice.row(above), lattice.row(below)
    hot = part[:, first:last]
    size = (max(1, right - left), max(1, end - begin))
    light = np.empty((size[1], size[0], 3), np.uint8)
    small = cv2.LUT(cv2.merge([hot, hot, hot]), palette)
    cv2.resize(small, size, dst=light, interpolation=cv2.INTER_LINEAR)
    top, bottom = lattice.row(rows[0]), lattice.row(rows[1])
    return light[top - begin : bottom - begin], (left, top, right, bottom)


def _part_of(light: Image, bounds: Box, part: Box, boxes: Sequence[Box]) -> Strip:
    """The part of a tint that lies in the boxes."""
    left, top, right, bottom = part
    light = light[top - bounds[1] : bottom - bounds[1], left - bounds[0] : right - bounds[0]]
    if len(boxes) > 1:
        light = _inside(light, part, boxes)
    keep = np.empty_like(light)
    cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(light, 2)), cv2.COLOR_GRAY2BGR, dst=keep)
    return Strip(part, light, keep)


def _inside(light: Image, part: Box, boxes: Sequence[Box]) -> Image:
    """The tint of a part of the frame where a box is, nothing elsewhere."""
    shown = np.zeros_like(light)
    for box in boxes:
        shared = common(box, part)
        if not is_empty(shared):
            left, top, right, bottom = shared
            inside = np.s_[top - part[1] : bottom - part[1], left - part[0] : right - part[0]]
            shown[inside] = light[inside]
    return shown
