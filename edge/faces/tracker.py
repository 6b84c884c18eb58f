"""The faces of one source from frame to frame: found, told apart and cut out for the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.faces.boxes import (
    FACE_SIDE,
    Floats,
    aligned_crops,
    aligned_square,
    as_rows,
    box_of_square,
    crop_face,
    distances,
    square_box,
)
from edge.faces.finder import Face, FaceFinder
from edge.regions import Crop
from edge.types import Box, Image

NEAR = 1.0
"""A face found within this distance of an earlier one, in sides of its box, is the same."""

MEMORY_S = 2.0
"""A face that was not found for longer is forgotten."""

_THUMB = (32, 18)
_LEAST_LIKENESS = 0.4
_LEAST_NEW = 0.4
"""A cut: pictures correlate less, and more of them changed than a large face can cover."""

_CHANGED = 0.5
_LEAST_CHANGE = 10.0
"""Of a pixel: in standard deviations of the picture, and in grey levels."""


@dataclass(slots=True)
class _Track:
    number: int
    box: Box
    seen_s: float


class FaceTracker:
    """Looks for faces at a rate, and gives each a number that it keeps. Not thread-safe.

    Tracking by detection, without a model of motion: faces pair with the nearest earlier ones, the
    nearest pair first. Nothing is followed between two looks, as a look costs less than that would.

    Args:
        finder: which several sources may share.
        size: side of the crops in pixels.
        side: of the aligned crops, see `edge.faces.boxes.aligned_square`; None for the upright
            square of `square_box`.
        rate: looks per second of the frames' time; infinite for every frame.
    """

    def __init__(
        self,
        finder: FaceFinder,
        size: int,
        side: float | None = FACE_SIDE,
        rate: float = math.inf,
    ) -> None:
        self._finder = finder
        self._size, self._side = size, side
        self._period_s = 1 / rate
        self.restart()

    def restart(self) -> None:
        """The next frame has nothing to do with those before: another picture or recording."""
        self._next = 1
        self._tracks: list[_Track] = []
        self._looked_s = -math.inf
        self._thumb: Floats | None = None
        self._hw = (0, 0)

    def is_due(self, time_s: float) -> bool:
        """Whether it is time to look, in a frame of that time, which may step back."""
        # Times of frames are rounded.
        return not 0 <= time_s - self._looked_s < self._period_s - 1e-3

    def look(self, image: Image, time_s: float) -> list[Crop]:
        """The faces in a frame, uint8 [H, W, 3] BGR, the largest first.

        Of each a square cut out, uint8 [size, size, 3] BGR, with its number.
        """
        import cv2

        thumb = cv2.cvtColor(
            cv2.resize(image, _THUMB, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY
        ).astype(np.float64)
        hw = (image.shape[0], image.shape[1])
        continues = hw == self._hw and time_s >= self._looked_s
        if not continues or self._thumb is None or _is_cut(self._thumb, thumb):
            self._tracks = []
        self._looked_s, self._thumb, self._hw = time_s, thumb, hw
        faces = self._finder.find(image)
        return self._cut(image, faces, self._numbers(faces, time_s))

    def _numbers(self, faces: Sequence[Face], time_s: float) -> list[int]:
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= MEMORY_S]
        known = as_rows([track.box for track in self._tracks])
        apart = distances(known, as_rows([face.xyxy for face in faces]))
        found: dict[int, _Track] = {}
        while apart.size and (least := float(apart.min())) <= NEAR:
            i, j = np.argwhere(apart == least)[0].tolist()
            found[j] = self._tracks[i]
            apart[i], apart[:, j] = math.inf, math.inf
        for j, face in enumerate(faces):
            if j not in found:
                found[j] = _Track(self._next, face.xyxy, time_s)
                self._tracks.append(found[j])
                self._next += 1
            found[j].box, found[j].seen_s = face.xyxy, time_s
        return [found[j].number for j in range(len(faces))]

    def _cut(self, image: Image, faces: Sequence[Face], numbers: Sequence[int]) -> list[Crop]:
        hw = self._hw
        if self._side is None:
            boxes = [square_box(face.xyxy, hw) for face in faces]
            images: Sequence[Image] = [crop_face(image, box, self._size) for box in boxes]
        else:
            points = [face.points for face in faces]
            boxes = [box_of_square(aligned_square(face, self._side), hw) for face in points]
            images = list(aligned_crops(image, points, self._size, self._side))
        return [Crop(*parts) for parts in zip(boxes, images, numbers, strict=True)]


def _is_cut(one: Floats, other: Floats) -> bool:
    """Whether two small grey pictures show something else, whatever the light."""
    change = np.abs(other - one - np.median(other - one))
    is_new = np.mean(change > max(_LEAST_CHANGE, _CHANGED * float(one.std()))) > _LEAST_NEW
    # One grey level of noise makes flat pictures equal.
    one, other = one - one.mean(), other - other.mean()
    scale = math.sqrt(((one**2).sum() + one.size) * ((other**2).sum() + one.size))
    return bool(is_new and ((one * other).sum() + one.size) / scale < _LEAST_LIKENESS)
