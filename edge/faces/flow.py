"""Where boxes went from one picture to the next, by the flow of what is in them.

Points of a grid over each box are followed by pyramids of Lucas and Kanade; the median of their
steps moves the box, and the median of how far they moved apart scales it (Kalal, Mikolajczyk and
Matas, "Forward-Backward Error", 2010, whose median flow this is). It works on a reduced picture in
grey: all boxes cost little more than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.faces.boxes import Boxes
from edge.faces.finders import LONGEST_SIDE, reduced
from edge.types import Image

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_POINTS = 6
"""Points to a side of the grid."""

_INSET = 0.15
"""Of the grid from the box's edges, in sides: there the background begins."""

_WINDOW = 15
_LEVELS = 3
_LEAST_POINTS = 9

_WORST_DIFFERENCE = 20.0
"""Grey levels by which what is about a point may have changed, at the median."""

_MOST_SPREAD = 0.1
"""Part of the box's side by which points may stray from the common motion, at the median."""

_MOST_SCALE = 1.5
"""From one picture to the next."""

_LEAST_INSIDE = 0.25
"""Share of a box that must be left in the picture."""

_THUMB = (32, 18)
_LEAST_LIKENESS = 0.4
_MOST_NEW = 0.4
"""Correlation of a picture with the one before below which it is a cut, and share of it that must
have changed besides: where a large face is gone, what is around it stays."""

_LEAST_CHANGE = 10.0
_CHANGED = 0.5
"""Grey levels that are a change, at least, and in standard deviations of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A picture as the flow sees it.

    Attributes:
        hw: its height and width before it was reduced.
        scale: pixels of `grey` per pixel of the picture.
        grey: reduced.
        thumb: reduced to a few pixels.
    """

    hw: tuple[int, int]
    scale: float
    grey: Grey
    thumb: Floats


class Flow:
    """Holds two pictures, and carries boxes from the older to the newer. Not thread-safe."""

    def __init__(self) -> None:
        self._old: _View | None = None
        self._new: _View | None = None

    @property
    def holds_none(self) -> bool:
        """Whether there is no picture to begin from."""
        return self._new is None

    def forget(self) -> None:
        """Forget both."""
        self._old = self._new = None

    def look(self, image: Image) -> None:
        """Take the next picture, uint8 [H, W, 3] BGR."""
        self._old, self._new = self._new, _view(image)

    @property
    def is_cut(self) -> bool:
        """Whether the newer picture shows something else, or has another size."""
        if self._old is None or self._new is None or self._old.hw != self._new.hw:
            return True
        one, other = self._old.thumb, self._new.thumb
        return _likeness(one, other) < _LEAST_LIKENESS and _new_share(one, other) > _MOST_NEW

    def carry(self, boxes: Boxes) -> tuple[Boxes, Flags]:
        """Where boxes went.

        Args:
            boxes: [n, 4] in pixels of the picture; there must be two.

        Returns:
            The same moved; whether each is reliable. One that is not stays where it was.
        """
        import cv2

        old, new = self._old, self._new
        assert old is not None and new is not None  # is_cut was asked before
        if not len(boxes):
            return boxes, np.zeros(0, np.bool_)
        before = np.stack([_grid(box * old.scale) for box in boxes])
        flat = before.reshape(-1, 1, 2).astype(np.float32)
        after, found, difference = cv2.calcOpticalFlowPyrLK(
            old.grey, new.grey, flat, flat.copy(), winSize=(_WINDOW, _WINDOW), maxLevel=_LEVELS
        )
        shape = before.shape[:2]
        there = np.asarray(found, np.bool_).reshape(shape) & _inside(before, old.grey)
        # Of points that were not found, OpenCV leaves whatever the memory held.
        differences = np.where(there, difference.reshape(shape), 0).astype(np.float64)
        ends = np.where(there[..., None], after.reshape(*shape, 2), 0).astype(np.float64)
        moved, sure = boxes.copy(), np.zeros(len(boxes), np.bool_)
        for i, box in enumerate(boxes):
            step = _step(*(part[i][there[i]] for part in (before, ends, differences)))
            if step is not None:
                moved[i] = _moved(box, step[0] / new.scale, step[1])
                sure[i] = _share_inside(moved[i], new.hw) >= _LEAST_INSIDE
        moved[~sure] = boxes[~sure]
        return moved, sure


def _view(image: Image) -> _View:
    import cv2

    small, scale = reduced(image, LONGEST_SIDE)
    grey: Grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)  # type: ignore[assignment]  # it stays uint8
    thumb = cv2.resize(grey, _THUMB, interpolation=cv2.INTER_AREA).astype(np.float64)
    return _View((image.shape[0], image.shape[1]), scale, grey, thumb)


def _likeness(one: Floats, other: Floats) -> float:
    """Correlation, -1..1; 1 for two that are flat, which have nothing to tell them apart."""
    one, other = one - one.mean(), other - other.mean()
    noise = one.size  # of one grey level, which makes flat pictures equal
    common = float((one * other).sum()) + noise
    return common / float(np.sqrt(((one**2).sum() + noise) * ((other**2).sum() + noise)))


def _new_share(one: Floats, other: Floats) -> float:
    """Share of a picture that is not as it was, 0..1, whatever the light."""
    change = np.abs(other - one - np.median(other - one))
    return float(np.mean(change > max(_LEAST_CHANGE, _CHANGED * float(one.std()))))


def _grid(box: Floats) -> Floats:
    """Points of a box, [n, 2] (x, y)."""
    parts = np.linspace(_INSET, 1 - _INSET, _POINTS)
    xs, ys = (box[i] + parts * (box[i + 2] - box[i]) for i in (0, 1))
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def _inside(points: Floats, grey: Grey) -> Flags:
    height, width = grey.shape
    x, y = points[..., 0], points[..., 1]
    return np.asarray((x >= 0) & (y >= 0) & (x < width) & (y < height))


def _step(before: Floats, after: Floats, difference: Floats) -> tuple[Floats, float] | None:
    """The common motion of points: how far, and how many times as wide; None if there is none."""
    if len(before) < _LEAST_POINTS or np.median(difference) > _WORST_DIFFERENCE:
        return None
    middles = np.median(before, axis=0), np.median(after, axis=0)
    spread = [np.linalg.norm(p - m, axis=1) for p, m in zip((before, after), middles, strict=True)]
    scale = float(np.median(spread[1]) / max(float(np.median(spread[0])), 1e-9))
    if not 1 / _MOST_SCALE <= scale <= _MOST_SCALE:
        return None
    astray = np.linalg.norm(after - middles[1] - scale * (before - middles[0]), axis=1)
    side = float(np.ptp(before, axis=0).max()) / (1 - 2 * _INSET)
    if np.median(astray) > max(1.0, _MOST_SPREAD * side):
        return None
    return np.median(after - before, axis=0), scale


def _moved(box: Floats, by: Floats, scale: float) -> Floats:
    centre, half = (box[:2] + box[2:]) / 2 + by, (box[2:] - box[:2]) / 2 * scale
    return np.concatenate([centre - half, centre + half])


def _share_inside(box: Floats, hw: tuple[int, int]) -> float:
    low, high = np.maximum(box[:2], 0), np.minimum(box[2:], (hw[1], hw[0]))
    return float(
        np.prod(np.clip(high - low, 0, None)) / max(float(np.prod(box[2:] - box[:2])), 1e-9)
    )
