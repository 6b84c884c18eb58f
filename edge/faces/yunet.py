"""YuNet through OpenCV: a small network that finds turned and small faces too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from cv2.utils import logging
from typing_extensions import Self

from edge.errors import ModelError
from edge.faces.boxes import clipped
from edge.faces.finders import Face, largest_first, reduced
from edge.files import sha256_of
from edge.types import Image

LEAST_SCORE = 0.9
"""OpenCV's own default."""

_TRIAL_HW = (64, 64)


class YuNetFinder:
    """See `edge.faces.finders.FaceFinder`; scores are in 0..1.

    Args:
        model: a YuNet, `.onnx`.
        longest_side: frames are reduced to it.

    Raises:
        ModelError: the file is absent, or is no YuNet.
    """

    name = "yunet"

    def __init__(self, model: Path, longest_side: int) -> None:
        try:
            digest = sha256_of(model)
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

    def __exit__(self, *_: object) -> None:
        """Nothing is held but memory, which goes with the object."""

    def find(self, image: Image) -> list[Face]:
        """The faces in a picture, uint8 [H, W, 3] BGR, the largest first."""
        small, scale = reduced(image, self._longest_side)
        size_hw = small.shape[0], small.shape[1]
        if size_hw != self._size_hw:
            self._detector.setInputSize(size_hw[::-1])
            self._size_hw = size_hw
        rows = self._detector.detect(np.ascontiguousarray(small))[1]
        found = np.asarray([] if rows is None else rows, np.float64).reshape(-1, 15)
        # Left, top, width, height, five landmarks, score.
        edges = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1) / scale
        hw = image.shape[0], image.shape[1]
        return largest_first(
            Face(clipped(box, hw), float(row[14])) for box, row in zip(edges, found, strict=True)
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's warnings about its own settings."""
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(level)
