"""A face finder that finds what it is told to, so that counts are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from typing_extensions import Self

from edge.faces import Face, FaceFinder
from edge.faces.boxes import Points
from edge.types import Box, Image


@dataclass
class FakeFinder(FaceFinder):
    """See `edge.faces.FaceFinder`.

    Attributes:
        boxes: in every frame, or a function of the place among the frames that were looked at.
    """

    boxes: Sequence[Box] | Callable[[int], Sequence[Box]] = ((60, 60, 160, 160),)
    name: str = "fake"
    key: str = "fake-1"
    opened: int = 0
    closed: int = 0
    looked: int = 0
    images: list[Image] = field(default_factory=list)

    def __call__(self) -> Self:
        """As what opens it."""
        return self

    def __enter__(self) -> Self:
        self.opened += 1
        return self

    def __exit__(self, *error: object) -> None:
        self.closed += 1

    def find(self, image: Image) -> list[Face]:
        boxes = self.boxes(self.looked) if callable(self.boxes) else self.boxes
        self.looked += 1
        self.images.append(image)
        return [Face(box, 1.0, points_in(box)) for box in boxes]


def points_in(box: Box) -> Points:
    """Eyes, nose and mouth of an upright face with that box."""
    left, top, right, bottom = box
    places = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
    return np.array([left, top]) + places * (right - left, bottom - top)
