"""Video files: every frame, in order, decoded ahead of the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.errors import SourceError
from edge.sources.containers import is_cut, read_announced
from edge.sources.opencv import (
    announced_fps,
    announced_length,
    cv2,
    open_ffmpeg,
    read_images,
)
from edge.sources.pump import Feed, PumpedSource
from edge.types import Frame

_USUAL_FPS = 25.0
_PRINTABLE = b"\a\b\t\n\f\r\x1b" + bytes(range(0x20, 0x100))
_LEAST_MISSING = 2
_MISSING_SHARE = 0.02
"""A file may end so many frames, or so large a share of them, before the announced number."""


def video_source(path: Path, name: str) -> PumpedSource:
    """A video file.

    Args:
        path: an existing file.
        name: what the person called it.
    """
    return PumpedSource(name, lambda: _open_file(path, name), "file")


def _open_file(path: Path, name: str) -> Feed:
    _refuse_what_is_no_video(path, name)
    # Absolute, because FFmpeg takes the text before a colon for a protocol.
    capture = open_ffmpeg(str(path.resolve()))
    if not capture.isOpened():
        raise SourceError(_why_not_opened(path, name))
    return file_feed(capture, name, lambda shown_s: _falls_short(path, shown_s))


def _refuse_what_is_no_video(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error
    if not head:
        raise SourceError(f"{name}: the file is empty (0 bytes).")
    # FFmpeg would draw a .txt file as a film of letters, and follow a playlist's links.
    if _is_text(head):
        raise SourceError(f"{name}: expected a video that can be decoded, found a text file.")


def _is_text(head: bytes) -> bool:
    """Whether nothing in it is a control character, which every coded video has from its start."""
    return not head.translate(None, delete=_PRINTABLE)


def _why_not_opened(path: Path, name: str) -> str:
    if is_cut(path):
        size, whole = path.stat().st_size, read_announced(path).size
        return (
            f"{name}: the file is truncated ({size} of {whole} bytes), and no frame of it can be "
            "decoded. Copy or record it again."
        )
    return (
        f"{name}: not a video that can be decoded. Expected mp4, mov, mkv, webm, avi or the like."
    )


def file_feed(capture: cv2.VideoCapture, name: str, falls_short: Callable[[float], bool]) -> Feed:
    """The frames of an opened file, on disk or on a server.

    Args:
        capture: opened; released by the feed's `close`.
        name: fit to be shown.
        falls_short: whether to end after so many seconds is too early for this file; asked where
            clearly fewer frames came than were announced.
    """
    fps, length = announced_fps(capture), announced_length(capture)
    frames = _decode(capture, name, fps or _USUAL_FPS, length, falls_short)
    return Feed(frames, capture.release, "file", fps, length)


def _decode(
    capture: cv2.VideoCapture,
    name: str,
    fps: float,
    length: int | None,
    falls_short: Callable[[float], bool],
) -> Iterator[Frame]:
    clock = _Clock(1 / fps)
    decoded = 0
    for decoded, image in enumerate(read_images(capture), start=1):
        pts = clock.seconds(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        yield Frame(image, decoded - 1, time.time(), name, pts)
    missing = (length or 0) - decoded
    tolerated = max(_LEAST_MISSING, _MISSING_SHARE * (length or 0))
    if not decoded or (missing > tolerated and falls_short(clock.end)):
        announced = f"{decoded} of {length} announced frames" if length else "0 frames"
        raise SourceError(f"{name}: ended after {announced}; the file is truncated or damaged.")


class _Clock:
    """Presentation times from the first frame on, always rising.

    OpenCV gives, after a read, the time of the frame that was read. Raw streams have none (always
    0), and joined recordings jump back; there a frame follows the last one at the announced rate.

    Args:
        step_s: seconds between frames at the announced rate.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._start_s: float | None = None
        self._last_s = -step_s

    @property
    def end(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return self._last_s + self._step_s

    def seconds(self, position_s: float) -> float:
        """The presentation time of a frame that the decoder places at `position_s`."""
        if self._start_s is None:
            self._start_s = position_s
        elapsed = position_s - self._start_s
        self._last_s = elapsed if elapsed > self._last_s else self.end
        return self._last_s


def _falls_short(path: Path, shown_s: float) -> bool:
    announced = read_announced(path)
    if announced.size is not None and path.stat().st_size < announced.size:
        return True
    return announced.shown_s is not None and shown_s < (1 - _MISSING_SHARE) * announced.shown_s
