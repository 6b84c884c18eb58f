"""A thin light line around where a wash of colour is strong, for pictures of that same colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.overlay.geometry import common, is_empty
from edge.overlay.lattice import Lattice, Levels
from edge.overlay.sprites import Colour
from edge.types import Box, Image

LINE: Colour = (200, 230, 255)

_FINENESS = 300
"""Cells to the frame's short side on which the line is traced, about."""

_LEAST_SHORT = 180
"""Frames with a shorter side in pixels get no line: it would cover what it surrounds."""

_LEAST_SIDE = 1 / 16
"""Square root of the smallest area with a line, as a part of the frame's short side."""

_ROUNDING = 3
"""Neighbours on each side over which the vertices are averaged."""

_SUBPIXEL_BITS = 4

Points = npt.NDArray[np.float64]


def draw_contours(
    picture: Image, levels: Levels, lattice: Lattice, boxes: Sequence[Box], least: int
) -> None:
    """Draw the line along one level, in place, inside the boxes.

    Args:
        picture: uint8 [H, W, 3] BGR.
        levels: strength of the colour in each cell, uint8 [h, w].
        lattice: where the cells lie.
        boxes: xyxy; nothing is drawn outside them. A line that the edge of the cells cuts runs
            along that edge, so they should reach a little beyond the boxes.
        least: the level.
    """
    short = min(picture.shape[:2])
    if short < _LEAST_SHORT:
        return
    thickness = max(1, round(0.0016 * short))
    frame = (0, 0, picture.shape[1], picture.shape[0])
    views = [common(box, frame) for box in boxes]
    for vertices in _traced(levels, lattice, least, short):
        left, top = np.floor(vertices.min(0)).astype(int) - thickness
        right, bottom = np.ceil(vertices.max(0)).astype(int) + thickness
        for view in views:
            if not is_empty(common(view, (left, top, right, bottom))):
                _draw_inside(picture, vertices, view, thickness)


def _draw_inside(picture: Image, vertices: Points, box: Box, thickness: int) -> None:
    left, top, right, bottom = box
    inside = np.rint((vertices - (left, top)) * 2**_SUBPIXEL_BITS).astype(np.int32)
    view = picture[top:bottom, left:right]
    cv2.polylines(view, [inside], True, LINE, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _traced(levels: Levels, lattice: Lattice, least: int, short: int) -> Iterator[Points]:
    """Closed lines around the cells of a level or more, as pixels (x, y) of the frame."""
    fine, cell = _at_fineness(levels, lattice, short / _FINENESS)
    smallest = (short * _LEAST_SIDE) ** 2 / (cell[0] * cell[1])
    strong = (fine >= least).view(np.uint8)
    for contour in cv2.findContours(strong, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
        if cv2.contourArea(contour) >= smallest:
            vertices = _rounded(contour[:, 0])[::_ROUNDING]
            yield (vertices + 0.5) * cell + (lattice.left, lattice.top)


def _at_fineness(levels: Levels, lattice: Lattice, side: float) -> tuple[Levels, Points]:
    """The levels in cells of about `side` pixels, and the size (x, y) of those."""
    rows, columns = levels.shape
    across, down = lattice.cell
    size = (max(1, round(columns * across / side)), max(1, round(rows * down / side)))
    fine = np.empty((size[1], size[0]), np.uint8)
    cv2.resize(levels, size, dst=fine, interpolation=cv2.INTER_LINEAR)
    return fine, np.array([columns * across / size[0], rows * down / size[1]])


def _rounded(vertices: npt.NDArray[Any]) -> Points:
    """A closed line without the steps of the cells it was traced on."""
    reach = min(_ROUNDING, len(vertices))
    closed = np.concatenate([vertices[-reach:], vertices, vertices[:reach]])
    sums = np.cumsum(np.vstack([[0, 0], closed]), axis=0, dtype=np.float64)
    width = 2 * reach + 1
    return (sums[width:] - sums[:-width]) / width
