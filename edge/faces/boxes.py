"""Boxes around faces, and what is cut out of a frame by them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.regions import resize_antialiased
from edge.types import Box, Image

CROP_SCALE = 1.3
"""Side of a face's crop, in sides of its box: what detectors of face swaps are trained on."""

Floats = npt.NDArray[np.float64]

Boxes = Floats
"""Boxes as rows: [n, 4], xyxy."""


def square_box(xyxy: Box, frame_hw: tuple[int, int], scale: float = CROP_SCALE) -> Box:
    """The square around a face that is shown to a model.

    As in the code published with FaceForensics++ (Rössler et al., 2019): its side is the longer one
    of the face's times the scale, its centre the face's. Where it would leave the frame at the left
    or above it is moved inside, and it is made smaller where it would at the right or below; so it
    is a square in any case, and nothing is ever stretched.

    Args:
        xyxy: a face's box, at least partly in the frame.
        frame_hw: height and width of the frame, at least 1 each.
        scale: sides of the square to a side of the box.

    Returns:
        A square inside the frame, of at least one pixel.
    """
    left, top, right, bottom = xyxy
    height, width = frame_hw
    side = max(1, int(max(right - left, bottom - top) * scale))
    x = min(max((left + right) // 2 - side // 2, 0), width - 1)
    y = min(max((top + bottom) // 2 - side // 2, 0), height - 1)
    side = min(side, width - x, height - y)
    return x, y, x + side, y + side


def crop_face(image: Image, box: Box, size: int) -> Image:
    """Cut a box of `square_box` out of a frame and resize it, antialiased.

    Returns:
        uint8 [size, size, 3] BGR; a view of the frame if nothing had to be resized.
    """
    left, top, right, bottom = box
    return resize_antialiased(image[top:bottom, left:right], size, size)


def clipped(edges: Sequence[float] | Floats, frame_hw: tuple[int, int]) -> Box:
    """A box, xyxy anywhere, in whole pixels and inside a frame; of one pixel at least."""
    left, top, right, bottom = (round(float(edge)) for edge in edges)
    height, width = frame_hw
    x, y = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return x, y, min(max(right, x + 1), width), min(max(bottom, y + 1), height)


def overlaps(ours: Boxes, theirs: Boxes) -> Floats:
    """Intersection over union of each of [n, 4] with each of [m, 4], as [n, m] in 0..1."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(common / np.maximum(union, 1e-9))


def distances(ours: Boxes, theirs: Boxes) -> Floats:
    """How far centres lie apart, in sides of the larger of both boxes, as [n, m].

    Infinite where one is more than twice the size of the other.
    """
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (ours, theirs)]
    sides = [np.max(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    larger = np.maximum(sides[0][:, None], sides[1][None])
    smaller = np.minimum(sides[0][:, None], sides[1][None])
    return np.where(larger > 2 * smaller, math.inf, apart / np.maximum(larger, 1e-9))


def as_rows(boxes: Sequence[Sequence[float]] | Sequence[Floats]) -> Boxes:
    """Boxes as rows of an array; [0, 4] for none."""
    return np.array(boxes, np.float64).reshape(-1, 4)
