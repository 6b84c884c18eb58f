"""What every sink offers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import Self

from edge.manifest import Manifest
from edge.types import Picture, Result


class Sink(Protocol):
    """A place where results go; a context manager that owns the file, window or connection.

    One that inherits from this and keeps nothing open needs no `__enter__` and `__exit__`.

    Attributes:
        name: its stage in `timings_ms`, for instance "encode" or "show".
        wants_picture: whether it asks for the picture of every result, so that it can be drawn
            while the next frame is computed.
    """

    name: str
    wants_picture: bool = False

    def __enter__(self) -> Self:
        """Open it; after a failure again, and then nothing that it wrote is harmed.

        Raises:
            SinkError: it cannot be written or shown; nothing that exists was harmed.
        """
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object, /) -> None:
        """Finish what was written so that it can be used, also after an error or Ctrl-C."""
        return

    def write(self, result: Result, picture: Picture) -> None:
        """Take one result and its picture, which is drawn when it is first called, from any thread.

        Raises:
            SinkError: it can no longer be written (disk full, for instance).
        """
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may know: of its source the `name` for `{camera}` and the announced `fps`; the
    model that judges at first, where results name it later; and the file whose sound goes with the
    pictures."""

    name: str
    fps: float | None = None
    model: Manifest | None = None
    sound: Path | None = None


class ConfiguredSink(Sink, Protocol):
    """A sink of the table: made from the configuration, and checked without being opened.

    One that inherits from this and opens nothing needs no `__enter__`, and one of which nothing can
    be seen before no `check`.
    """

    def __enter__(self) -> Self:
        """As `check`."""
        self.check()
        return self

    @classmethod
    def from_options(cls, options: Any, context: SinkContext) -> Self:
        """Make it, unopened, from its options as its row of the table declares them."""
        ...

    def check(self) -> None:
        """See whether it could be opened. Connects to nothing, and harms nothing that exists.

        Raises:
            SinkError: it could not.
        """
        return
