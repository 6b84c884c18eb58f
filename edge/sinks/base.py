"""What every place for results offers."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, runtime_checkable

from typing_extensions import Self

from edge.types import Image, Result

Draw = Callable[[], Image]
"""Gives the annotated picture, uint8 [H, W, 3] BGR; from any thread, drawn once for all who ask."""


class Sink(Protocol):
    """A place where results go; a context manager that owns the window or file.

    Attributes:
        name: its stage in `timings_ms`, for instance "encode" or "show".
        wants_picture: whether `write` needs the annotated picture; if no sink of a run does,
            none is drawn.
    """

    name: str
    wants_picture: bool

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            SinkError: it cannot be written or shown; nothing that exists was harmed.
        """
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what was written so that it can be used, also after an error or Ctrl-C."""
        ...

    def write(self, result: Result, picture: Image | None) -> None:
        """Take one result.

        Args:
            result: the frame and all that is known about it.
            picture: the annotated frame, uint8 [H, W, 3] BGR; None if nobody wants one.

        Raises:
            SinkError: it can no longer be written (disk full, for instance).
        """
        ...


@runtime_checkable
class DrawingSink(Sink, Protocol):
    """A sink that seldom needs the picture and asks for it when it does.

    Its `wants_picture` is False; where nobody can draw for it, `write` does without.
    """

    def write_drawn(self, result: Result, draw: Draw) -> None:
        """As `write`, with something to draw the picture by."""
        ...
