"""What every place for results offers."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from edge.types import Picture, Result


class Sink(Protocol):
    """A place where results go; a context manager that owns the window or file.

    Attributes:
        name: its stage in `timings_ms`, for instance "encode" or "show".
        wants_picture: whether it asks for the picture of every result, so that it can be drawn
            while the next frame is computed.
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

    def write(self, result: Result, picture: Picture) -> None:
        """Take one result.

        Args:
            result: the frame and all that is known about it.
            picture: gives the annotated frame; drawn when it is first called, from any thread.

        Raises:
            SinkError: it can no longer be written (disk full, for instance).
        """
        ...
