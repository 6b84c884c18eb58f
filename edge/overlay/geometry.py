"""Boxes, xyxy in pixels, right and bottom exclusive."""

from __future__ import annotations

from collections.abc import Sequence

from edge.types import Box


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around at least one."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def common(one: Box, other: Box) -> Box:
    """What two boxes have in common; see `is_empty` for none."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    return left, top, min(one[2], other[2]), min(one[3], other[3])


def is_empty(box: Box) -> bool:
    """Whether a box holds no pixel."""
    return box[0] >= box[2] or box[1] >= box[3]


def grown(box: Box, by: int) -> Box:
    """A box with `by` more pixels on each side."""
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by
