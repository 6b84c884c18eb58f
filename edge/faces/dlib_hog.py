"""dlib's frontal face detector: gradients (HOG) under a linear classifier, on the CPU."""

from __future__ import annotations

from importlib import metadata

import numpy as np
from typing_extensions import Self

from edge.errors import MissingDependency
from edge.faces.boxes import clipped
from edge.faces.finders import Face, largest_first, reduced
from edge.types import Image

INSTALL = "pip install dlib-bin"

LEAST_FACE = 80
"""Side in pixels of the smallest face that it finds, in the reduced frame: its window's."""


class DlibFinder:
    """See `edge.faces.finders.FaceFinder`; scores are distances from the classifier's plane.

    It finds upright faces from the front, of `LEAST_FACE` pixels of the reduced frame and more.

    Args:
        longest_side: frames are reduced to it.

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
        version = getattr(dlib, "__version__", None) or metadata.version("dlib")
        self.key = f"{self.name}-{version}-{longest_side}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held but memory, which goes with the object."""

    def find(self, image: Image) -> list[Face]:
        """The faces in a picture, uint8 [H, W, 3] BGR, the largest first."""
        small, scale = reduced(image, self._longest_side)
        rgb = np.ascontiguousarray(small[..., ::-1])
        boxes, scores, _ = self._detector.run(rgb, 0, 0.0)
        hw = image.shape[0], image.shape[1]
        # dlib's right and bottom belong to the box.
        edges = [(b.left(), b.top(), b.right() + 1, b.bottom() + 1) for b in boxes]
        return largest_first(
            Face(clipped([edge / scale for edge in box], hw), float(score))
            for box, score in zip(edges, scores, strict=True)
        )
