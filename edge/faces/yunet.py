"""YuNet through OpenCV: a small network that finds turned and small faces too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from cv2.utils import logging
from typing_extensions import Self

from edge.errors import ModelError
from edge.faces.base import Face, largest_first, shrunk
from edge.faces.boxes import Floats, clipped
from edge.types import Image

LEAST_SCORE = 0.9
"""OpenCV's own default."""

_TRIAL_HW = (64, 64)


class YuNetFinder:
    """See `edge.faces.base.FaceFinder`; scores are in 0..1.

    Args:
        model: a YuNet, `.onnx`.
        longest_side: frames are shrunk to it.

    Raises:
        ModelError: the file is absent, or is no YuNet.
    """

    name = "yunet"

    def __init__(self, model: Path, longest_side: int) -> None:
        try:
            digest = hashlib.sha256(model.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{model}: expected a YuNet model: {error.strerror}.") from error
        self._longest_side = longest_side
        self._size_hw = _TRIAL_HW
        self.key = (
            f"{self.name}-{digest[:12]}-opencv{cv2.__version__}-{longest_side}-{LEAST_SCORE:g}"
        )
        try:
            with _quiet():
                self._detector = cv2.FaceDetectorYN.create(
                    str(model), "", _TRIAL_HW[::-1], LEAST_SCORE
                )
                self._detector.detect(np.zeros((*_TRIAL_HW, 3), np.uint8))
        except cv2.error as error:
            raise ModelError(
                f"{model}: expected a YuNet model, and OpenCV {cv2.__version__} cannot use it as "
                f"one: {' '.join(error.err.split()) or error.code}."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held but memory, which goes with the object."""

    def find(self, image: Image) -> list[Face]:
        """The faces in a picture, uint8 [H, W, 3] BGR, the largest first."""
        small, scale = shrunk(image, self._longest_side)
        hw = small.shape[0], small.shape[1]
        if hw != self._size_hw:
            self._detector.setInputSize(hw[::-1])
            self._size_hw = hw
        rows = self._detector.detect(np.ascontiguousarray(small))[1]
        found = () if rows is None else np.asarray(rows, np.float64)
        return largest_first(_face(row, scale, image.shape[:2]) for row in found)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's warnings: it warns of settings that are its own."""
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def _face(row: Floats, scale: float, frame_hw: tuple[int, ...]) -> Face:
    # Left, top, width, height, five landmarks, score.
    edges = np.concatenate([row[:2], row[:2] + row[2:4]]) / scale
    return Face(clipped(edges, (frame_hw[0], frame_hw[1])), float(row[14]))
