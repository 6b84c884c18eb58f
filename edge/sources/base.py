"""What every source of frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Protocol

from typing_extensions import Self

from edge.types import Frame

SourceKind = Literal["live", "file", "stills"]


class Source(Protocol):
    """Frames from somewhere; a context manager that owns the device or file.

    Attributes:
        name: fit to be shown: what the person asked for, without credentials.
        kind: `live` keeps only the newest frame; `file` loses none; in `stills` every frame
            stands alone (a folder of images) and is judged alone.
        fps: announced frames per second; None where unknown. A hint, never a clock.
        length: number of frames, where known beforehand.
        failures: a sentence for each picture that was passed over so far, as it was logged.

    `kind`, `fps` and `length` are final once the source is open, but for the `fps` of a live one,
    which is known once it streams and may change; until then they are a guess.
    """

    name: str
    kind: SourceKind
    fps: float | None
    length: int | None
    failures: list[str]

    def __enter__(self) -> Self:
        """Open the source.

        Raises:
            SourceError: it cannot be opened.
        """
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame | None]:
        """Yield frames until the source ends.

        A live source yields None each time that no frame came within its frame timeout, so that
        the verdict can become `no_signal`; other sources never do.

        Raises:
            SourceError: reading failed for good.
        """
        ...
