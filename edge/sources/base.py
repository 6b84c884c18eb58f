"""What sources offer, and what is opened behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from typing_extensions import Self

from edge.types import Frame, Image, PixelFormat

SourceKind = Literal["live", "file", "stills"]


class Source(Protocol):
    """A recording or pictures: every frame, in order; a context manager that owns the file.

    Attributes:
        name: fit to be shown: what the person asked for, without credentials.
        kind: `file`, or `stills` where every frame stands alone (a folder of images).
        fps: announced frames per second, final once it is open; None where unknown.
        length: announced number of frames, likewise.
        failures: a sentence for everything that was skipped so far, as it was logged.
        damaged: frames of a video that were skipped because of damage.
    """

    name: str
    kind: SourceKind
    fps: float | None
    length: int | None
    failures: list[str]
    damaged: int

    def __enter__(self) -> Self:
        """Open the source; raises SourceError where it cannot be opened."""
        ...

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source ends; raises SourceError where reading fails for good."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A live frame as it arrived, perhaps not yet converted.

    Attributes:
        arrived_s: when it had been decoded, on the clock of `time.monotonic`.
        pts_s: the sender's presentation time in seconds, from an arbitrary start; None without.
        image: converts and returns the picture, uint8 [H, W, 3] BGR or as `pixel_format` says.
            Called at most once, by any thread, even after the capture was closed.
        pixel_aspect: width of a pixel by its height.
    """

    arrived_s: float
    pts_s: float | None
    image: Callable[[], Image]
    pixel_format: PixelFormat = "bgr"
    pixel_aspect: float = 1.0


class Capture(Protocol):
    """An open device or stream behind a live source. Opened, read and closed on one thread."""

    fps: float | None

    def read(self) -> Shot | None:
        """The next frame, blocking until it comes; None at the end of a recording.

        Raises:
            SourceError: reading failed for good; SourceEnded where a stream ends.
        """
        ...

    def close(self) -> None:
        """Release the device or connection; may be called twice. Never raises."""
        ...


OpenCapture = Callable[[], Capture]
"""Opens a capture, blocking; raises SourceError of the class that says why it cannot."""
