"""What finds faces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from edge.types import Box, Image

LONGEST_SIDE = 640
"""A frame is shrunk to it before faces are looked for, in pixels."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was found.

    Attributes:
        xyxy: about from brow to chin and ear to ear, in pixels of the frame and inside it.
        score: of the finder, in its own measure; higher is surer.
    """

    xyxy: Box
    score: float


class FaceFinder(Protocol):
    """Finds faces in single pictures; a context manager that owns its memory. Not thread-safe.

    Attributes:
        name: for instance "dlib-hog".
        key: name, version and settings, fit for the name of a folder; what is found depends on
            nothing else, so that it may be kept under this key.
    """

    name: str
    key: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def find(self, image: Image) -> list[Face]:
        """The faces in a picture, the largest first.

        Args:
            image: uint8 [H, W, 3] BGR, of any size.
        """
        ...


def shrunk(image: Image, longest_side: int) -> tuple[Image, float]:
    """A picture whose longest side is at most so many pixels, averaged over areas; never enlarged.

    Returns:
        The picture, or itself where it is small enough; its pixels to a pixel of the one given.
    """
    import cv2

    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return image, 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale  # type: ignore[return-value]  # it stays uint8


def largest_first(faces: Iterable[Face]) -> list[Face]:
    """Faces by their area; of equal ones the surer first, then by place, so that order is fixed."""

    def rank(face: Face) -> tuple[float, float, Box]:
        left, top, right, bottom = face.xyxy
        return -(right - left) * (bottom - top), -face.score, face.xyxy

    return sorted(faces, key=rank)
