"""Where marks and names stand on a plot, so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_STEPS = (0, 1, 2, 3, 5, 7, 10, 14, 18, 23, 28, 34, 40, 47, 54)
_STEP = 5.0
_DIRECTIONS = 24
_OVERLAP, _CROSSING, _ASKEW = 1000.0, 40.0, 0.3
LEADER = 12.0
"""A name further than this from its mark has a line to it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows upward."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: Box) -> bool:
        """Whether nothing of it lies outside the other."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of it that is nearest to another."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    def distance(self, x: float, y: float) -> float:
        """From a point to the nearest one of it."""
        return math.dist((x, y), self.nearest(x, y))


def spread(
    positions: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Move positions apart to at least `gap`, in all as little as possible.

    Least squares under that order, by pooling neighbours that violate it (Ayer et al., An Empirical
    Distribution Function for Sampling with Incomplete Information, 1955).

    Args:
        positions: in any order; the result has the same.
        gap: least distance of neighbours.
        low: least result.
        high: greatest result; where both bounds leave too little room, this one holds.
    """
    highest = high - gap * (len(positions) - 1)
    order = sorted(range(len(positions)), key=lambda index: (positions[index], index))
    pools: list[list[float]] = []  # what a shift by its rank leaves of each position
    for rank, index in enumerate(order):
        pools.append([positions[index] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    levels = [min(max(_mean(pool), low), highest) for pool in pools for _ in pool]
    moved = dict(zip(order, (x + rank * gap for rank, x in enumerate(levels)), strict=True))
    return [moved[index] for index in range(len(positions))]


def place(
    size: tuple[float, float],
    marks: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    inside: Box,
) -> Box:
    """The free place for a name that is nearest to one of its marks.

    Args:
        size: width and height of the name.
        marks: centres of its marks; at least one.
        taken: what it must not cover.
        inside: where it must lie.

    Returns:
        Its rectangle; where there is no free place, the one that covers the fewest things.
    """
    choices = [box for mark in marks for box in _around(*mark, *size) if box.within(inside)]
    if not choices:
        x, y = marks[0]
        return Box(x, y, x + size[0], y + size[1])
    return min(choices, key=lambda box: _cost(box, marks, taken))


def nearest_mark(box: Box, marks: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The mark that a name's leader would run to."""
    return min(marks, key=lambda mark: box.distance(*mark))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _around(x: float, y: float, width: float, height: float) -> Iterator[Box]:
    """Right and left of a point first, then ever further in all directions."""
    for step in _STEPS:
        for turn in range(_DIRECTIONS):
            angle = 2 * math.pi * turn / _DIRECTIONS
            reach = LEADER / 2 + _STEP * step
            cx = x + math.cos(angle) * (reach + width / 2)
            cy = y + math.sin(angle) * (reach + height / 2)
            yield Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)


def _cost(box: Box, marks: Sequence[tuple[float, float]], taken: Sequence[Box]) -> float:
    mark = nearest_mark(box, marks)
    distance = box.distance(*mark)
    covered = sum(box.overlaps(other) for other in taken)
    crossed = _crossed(box.nearest(*mark), mark, taken) if distance > LEADER else 0
    askew = abs((box.bottom + box.top) / 2 - mark[1])
    return _OVERLAP * covered + _CROSSING * crossed + distance + _ASKEW * askew


def _crossed(start: tuple[float, float], end: tuple[float, float], taken: Sequence[Box]) -> int:
    """How many things a leader runs over, its own mark among them whichever way it comes."""
    points = [
        (start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1]))
        for t in (i / 16 for i in range(17))
    ]
    return sum(any(b.left < x < b.right and b.bottom < y < b.top for x, y in points) for b in taken)
