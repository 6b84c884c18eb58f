"""dlib's frontal face detector: gradients (HOG) under a linear classifier, on the CPU."""

from __future__ import annotations

from importlib import metadata
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge.errors import MissingDependency
from edge.faces.base import Face, largest_first, shrunk
from edge.faces.boxes import clipped
from edge.types import Image

INSTALL = "pip install dlib-bin"

LEAST_FACE = 80
"""Side in pixels of the smallest face that it finds, in the shrunk frame: its window's."""


class DlibFinder:
    """See `edge.faces.base.FaceFinder`; scores are distances from the classifier's plane.

    It finds upright faces from the front, of `LEAST_FACE` pixels of the shrunk frame and more.

    Args:
        longest_side: frames are shrunk to it.

    Raises:
        MissingDependency: dlib is not installed.
    """

    name = "dlib-hog"

    def __init__(self, longest_side: int) -> None:
        try:
            import dlib
        except ImportError as error:
            raise MissingDependency("dlib", "find faces", INSTALL) from error
        self._detector = dlib.get_frontal_face_detector()
        self._longest_side = longest_side
        self.key = f"{self.name}-{_version(dlib)}-{longest_side}"

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
        rgb = np.ascontiguousarray(small[..., ::-1])
        boxes, scores, _ = self._detector.run(rgb, 0, 0.0)
        hw = image.shape[0], image.shape[1]
        return largest_first(
            Face(clipped([edge / scale for edge in _edges(box)], hw), float(score))
            for box, score in zip(boxes, scores, strict=True)
        )


def _edges(box: Any) -> tuple[int, int, int, int]:
    # dlib's right and bottom belong to the box.
    return box.left(), box.top(), box.right() + 1, box.bottom() + 1


def _version(dlib: object) -> str:
    told = getattr(dlib, "__version__", None)
    return str(told) if told else metadata.version("dlib")
