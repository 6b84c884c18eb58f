"""What is opened, read and closed again and again behind a live source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.types import Image, PixelFormat


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame as it came, perhaps not yet converted.

    Attributes:
        arrived_s: when it had been decoded, on the clock of `time.monotonic`.
        pts_s: the sender's presentation time in seconds, from an arbitrary start; None where it
            gives none.
        image: converts and returns the picture, uint8 [H, W, 3] BGR or as `pixel_format` says.
            May be called once, by another thread, also after the capture was closed. A frame that
            nobody takes is never converted.
        pixel_format: how the picture is laid out.
    """

    arrived_s: float
    pts_s: float | None
    image: Callable[[], Image]
    pixel_format: PixelFormat = "bgr"


class Capture(Protocol):
    """An open device or stream. Opened, read and closed on one thread.

    Attributes:
        fps: announced frames per second; None where unknown. A hint, never a clock.
        size_hw: announced height and width in pixels; None where unknown until the first frame.
    """

    fps: float | None
    size_hw: tuple[int, int] | None

    def read(self) -> Shot | None:
        """The next frame, blocking until it comes; None where a recording has come to its end.

        Raises:
            SourceError: reading failed for good; of the class that says why. A stream that ends
                raises SourceEnded.
        """
        ...

    def close(self) -> None:
        """Give the device or connection back; may be called twice. Never raises."""
        ...


OpenCapture = Callable[[], Capture]
"""Opens a capture, blocking; raises SourceError of the class that says why it cannot."""
