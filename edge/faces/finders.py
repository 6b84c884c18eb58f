"""Which finder is used, and one for all sources that need it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.errors import UsageError
from edge.faces.base import LONGEST_SIDE, FaceFinder

EVERY = 4
"""Usual distance of frames in which faces are looked for."""

LEAST_SIDE = 80
"""Smaller pictures hold no face that any finder finds, in pixels."""


def open_finder(model: Path | None = None, *, longest_side: int = LONGEST_SIDE) -> FaceFinder:
    """A finder of faces; a context manager.

    Args:
        model: a YuNet (.onnx), run by OpenCV; None for dlib's detector, which needs no file.
        longest_side: frames are shrunk to so many pixels before, and never enlarged; the smallest
            face that is found grows as they shrink.

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


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are found.

    Attributes:
        model: a YuNet (.onnx); None for dlib's detector.
        longest_side: frames are shrunk to so many pixels before.
        every: faces are looked for in every Nth frame, and followed in between.
    """

    model: Path | None = None
    longest_side: int = LONGEST_SIDE
    every: int = EVERY


class Faces:
    """The settings, and the finder that they ask for, opened once somebody needs it.

    A context manager: sources come and go, and the finder stays until the last has gone. One
    thread uses it.

    Args:
        settings: how faces are found.
        finder: an open one, used in place of what the settings ask for; whoever opened it closes
            it.
    """

    def __init__(
        self, settings: FaceSettings = FaceSettings(), finder: FaceFinder | None = None
    ) -> None:
        self.settings = settings
        self._given = finder
        self._opened: FaceFinder | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is not None:
            self._opened.__exit__(kind, error, trace)
            self._opened = None

    @property
    def finder(self) -> FaceFinder:
        """The finder, which is opened now if it was not before.

        Raises:
            MissingDependency: dlib is needed and not installed.
            ModelError: the model is absent, or no YuNet.
        """
        if self._given is not None:
            return self._given
        if self._opened is None:
            settings = self.settings
            finder = open_finder(settings.model, longest_side=settings.longest_side)
            self._opened = finder.__enter__()
        return self._opened
