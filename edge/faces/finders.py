"""What finds faces, and one finder for all sources that need it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field
from typing_extensions import Self

from edge.errors import UsageError
from edge.schema import Strict
from edge.types import Box, Image

LONGEST_SIDE = 640
"""Frames are reduced to it before faces are looked for, in pixels."""

LEAST_SIDE = 80
"""No finder finds a face in smaller pictures, in pixels."""

EVERY = 4
"""Faces are looked for in every Nth frame by default."""


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
            nothing else, so that it may be cached under this key.
    """

    name: str
    key: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def find(self, image: Image) -> list[Face]:
        """The faces in a picture, uint8 [H, W, 3] BGR of any size, the largest first."""
        ...


def open_finder(model: Path | None = None, *, longest_side: int = LONGEST_SIDE) -> FaceFinder:
    """A finder of faces; a context manager.

    Args:
        model: a YuNet (.onnx), run by OpenCV; None for dlib's detector, which needs no file.
        longest_side: frames are reduced to that many pixels before; the smallest face that is
            found grows as they shrink.

    Raises:
        UsageError: the model's name does not end in .onnx, or the side is too small.
        MissingDependency: dlib is needed and not installed.
        ModelError: the model is absent, or no YuNet.
    """
    if longest_side < LEAST_SIDE:
        raise UsageError(
            f"expected at least {LEAST_SIDE} pixels to find faces in, found {longest_side}."
        )
    if model is None:
        from edge.faces.dlib_hog import DlibFinder

        return DlibFinder(longest_side)
    if model.suffix.lower() != ".onnx":
        raise UsageError(f"{model}: expected a YuNet model, whose name ends in .onnx.")
    from edge.faces.yunet import YuNetFinder

    return YuNetFinder(model, longest_side)


def reduced(image: Image, longest_side: int) -> tuple[Image, float]:
    """A picture whose longest side is at most that many pixels, averaged over areas.

    Returns:
        The picture, or itself where it is small enough; its pixels per pixel of the given one.
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


class FaceSettings(Strict):
    """How faces are found, where the region is faces."""

    every: int = Field(
        default=EVERY, gt=0, description="Detect in every Nth frame and track in between."
    )
    longest_side: int = Field(
        default=LONGEST_SIDE,
        ge=LEAST_SIDE,
        description="Frames are reduced to this many pixels first; more finds smaller faces.",
    )
    model: Path | None = Field(
        default=None, description="A YuNet face detector (.onnx); null for dlib."
    )


USUAL = FaceSettings()


class Faces:
    """The settings, and the finder that they name, opened when it is first needed.

    A context manager: sources come and go, and the finder stays until the last has gone. Only one
    thread uses it.

    Args:
        settings: how faces are found.
        finder: an open one, used in place of the settings'; its opener closes it.
    """

    def __init__(self, settings: FaceSettings = USUAL, finder: FaceFinder | None = None) -> None:
        self.settings = settings
        self._given = finder
        self._opened: FaceFinder | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._opened is not None:
            self._opened.__exit__(*error)
            self._opened = None

    @property
    def finder(self) -> FaceFinder:
        """The finder, opened now if it was not before; raises as `open_finder` does."""
        if self._given is not None:
            return self._given
        if self._opened is None:
            settings = self.settings
            finder = open_finder(settings.model, longest_side=settings.longest_side)
            self._opened = finder.__enter__()
        return self._opened
