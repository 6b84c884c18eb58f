"""Video files and recordings of the web: every intact frame, in order, decoded ahead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from edge.errors import CodecError, NotFound, SourceError
from edge.sources.containers import announced_size, is_cut
from edge.sources.decoding import FrameConverter, VideoTrack, open_container
from edge.sources.reader import Feed, RecordedSource
from edge.types import Frame

log = logging.getLogger(__name__)

USUAL_FPS = 25.0
_PRINTABLE = b"\a\b\t\n\f\r\x1b" + bytes(range(0x20, 0x100))
_LISTS = {"hls", "concat", "dash", "tty"}
"""Formats that are texts: lists of files elsewhere, and text drawn as a film."""

_LEAST_MISSING = 2
_MISSING_SHARE = 0.02
"""A file may end this many frames, or this share of them, before the announced number."""


class VideoSource(RecordedSource):
    """A video file, or a recording on a web server.

    `is_cut` is called where clearly fewer frames came than were announced.
    """

    def __init__(
        self,
        name: str,
        open_container: Callable[[], InputContainer],
        is_cut: Callable[[], bool],
        open_timeout_s: float | None = None,
    ) -> None:
        super().__init__(name, "file", self._open, open_timeout_s=open_timeout_s)
        self._open_container = open_container
        self._is_cut = is_cut

    def _open(self) -> Feed:
        self.failures = []
        container = self._open_container()
        try:
            track = VideoTrack(container, self.name, threads=0, live=False)
        except BaseException:
            container.close()
            raise
        self.fps = track.fps
        self.length = track.stream.frames or round((track.seconds or 0) * (track.fps or 0)) or None
        return self._frames(container, track), container.close

    def _frames(self, container: InputContainer, track: VideoTrack) -> Iterator[Frame]:
        clock, converter = MediaClock(track.fps), FrameConverter()
        for decoded in decode_all(container, track, self.name):
            pts = clock.seconds(decoded.time)
            image = converter.image(decoded)
            yield Frame(image, track.decoded - 1, time.time(), self.name, pts)
        self.damaged = track.damaged
        if track.damaged:
            frames = "frame was" if track.damaged == 1 else "frames were"
            self.failures.append(f"{self.name}: {track.damaged} damaged {frames} skipped.")
            log.warning("%s", self.failures[-1].rstrip("."))
        count, skipped = clock.count, 0 if track.hurt else track.damaged
        length = self.length or 0
        missing = length - count - skipped
        tolerated = max(_LEAST_MISSING, _MISSING_SHARE * length)
        # An mp4 says exactly how long its video is shown; others estimate it.
        exact_s = (track.seconds or 0) if "mp4" in container.format.name else 0
        ends_early = clock.end < (1 - _MISSING_SHARE) * exact_s
        if not count or (missing > tolerated and (ends_early or self._is_cut())):
            announced = f"{count} of {length} announced frames" if length else "0 frames"
            raise SourceError(
                f"{self.name}: ended after {announced}; the file is truncated or damaged."
            )


def decode_all(container: InputContainer, track: VideoTrack, name: str) -> Iterator[av.VideoFrame]:
    """The intact frames of a recording; a file that was cut ends early."""
    packets = container.demux(track.stream)
    while True:
        try:
            packet: Any = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        if packet.has_sidedata("encryption_info"):
            raise CodecError(f"{name}: its video is encrypted, and there is no key for it.")
        yield from track.decode(packet)


def open_file(path: Path, name: str) -> InputContainer:
    """Open a video file.

    Raises:
        NotFound: it is not there.
        SourceError: it is no video.
    """
    if not path.is_file():
        raise NotFound(f"{name}: no such file.")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error
    if not head:
        raise CodecError(f"{name}: the file is empty (0 bytes).")
    # FFmpeg would draw a .txt file as a film of letters, and follow a playlist's links. Every
    # coded video has a control character near its start.
    if not head.translate(None, delete=_PRINTABLE):
        raise CodecError(f"{name}: expected a video that can be decoded, found a text file.")
    # Absolute, because FFmpeg takes the text before a colon for a protocol.
    opened = open_container(str(path.resolve()), {"protocol_whitelist": "file"})
    if isinstance(opened, InputContainer):
        if opened.format.name not in _LISTS:
            return opened
        opened.close()
    raise CodecError(_why_not_opened(path, name))


def _why_not_opened(path: Path, name: str) -> str:
    if is_cut(path):
        size, whole = path.stat().st_size, announced_size(path)
        return (
            f"{name}: the file is truncated ({size} of {whole} bytes), and no frame of it can be "
            "decoded. Copy or record it again."
        )
    return (
        f"{name}: not a video that can be decoded. Expected mp4, mov, mkv, webm, avi or the like."
    )


class MediaClock:
    """Presentation times from the first frame on, always rising, also over repeats of a file.

    Raw streams have no times, and joined recordings jump back: there a frame follows the last one
    at the announced rate.
    """

    def __init__(self, fps: float | None) -> None:
        self.count = 0
        self._step_s = 1 / (fps or USUAL_FPS)
        self._offset_s: float | None = None
        self._last_s = -self._step_s

    @property
    def end(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return self._last_s + self._step_s

    def rewind(self) -> None:
        """The next frame is the first one of the file again."""
        self._offset_s = None

    def seconds(self, time_s: float | None) -> float:
        """Seconds from the very first frame to this one."""
        placed_s = self.end
        if time_s is not None:
            if self._offset_s is None:
                self._offset_s = self.end - time_s
            if time_s + self._offset_s > self._last_s:
                placed_s = time_s + self._offset_s
        self.count += 1
        self._last_s = placed_s
        return placed_s
