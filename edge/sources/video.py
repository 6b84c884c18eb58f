"""Video files and recordings of the web: every intact frame, in order, decoded ahead."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from edge.cpus import find_cpus
from edge.errors import CodecError, NotFound, SourceError
from edge.sources.containers import LOOKED_AT, announced_size, foreign, is_cut
from edge.sources.decoding import FrameConverter, VideoTrack, open_container, packets_of
from edge.sources.policy import ALL_FRAMES, Selection
from edge.sources.reader import Feed, RecordedSource
from edge.types import Frame
from edge.words import counted

log = logging.getLogger(__name__)

USUAL_FPS = 25.0
SEEK_S = 10.0
"""What comes after this time is looked for by the file's index; the keyframe before it is near."""
_PRINTABLE = b"\a\b\t\n\f\r\x1b" + bytes(range(0x20, 0x100))
_LISTS = {"hls", "concat", "dash", "tty"}
"""Formats that are texts: lists of files elsewhere, and text drawn as a film."""

_LEAST_MISSING = 2
_MISSING_SHARE = 0.02
"""A file may end this many frames, or this share of them, before the announced number."""


class VideoSource(RecordedSource):
    """A video file, or a recording on a web server.

    `is_cut` is called where clearly fewer frames came than were announced, `why_empty` where none
    came. `fps` and `length` are of the frames that are selected; their indices and times are those
    in the whole file. `decode_threads` is None for one on each CPU.
    """

    def __init__(
        self,
        name: str,
        open_container: Callable[[], InputContainer],
        is_cut: Callable[[], bool],
        open_timeout_s: float | None = None,
        selection: Selection = ALL_FRAMES,
        why_empty: Callable[[], SourceError | None] = lambda: None,
        decode_threads: int | None = None,
    ) -> None:
        super().__init__(name, "file", self._open, open_timeout_s=open_timeout_s, ahead=1)
        self._selection = selection
        self._open_container = open_container
        self._is_cut, self._why_empty = is_cut, why_empty
        # Left to itself FFmpeg takes one more, and the memory of its frames.
        self._threads = decode_threads or find_cpus().usable

    def _open(self) -> Feed:
        self.failures = []
        container = self._open_container()
        try:
            track = VideoTrack(container, self.name, threads=self._threads, live=False)
        except BaseException:
            container.close()
            raise
        length = track.stream.frames or round((track.seconds or 0) * (track.fps or 0)) or None
        self.length = self._selection.count(length, track.fps)
        self.fps = track.fps and track.fps / self._selection.every
        return self._frames(container, track, length or 0), container.close

    def _frames(self, container: InputContainer, track: VideoTrack, length: int) -> Iterator[Frame]:
        clock, converter, wanted = MediaClock(track.fps), FrameConverter(), self._selection
        first, start_s = 0, _seek(container, track, wanted.begin_s)
        if start_s is not None:
            clock.start_at(start_s)
        for decoded in decode_all(container, track, self.name):
            pts = clock.seconds(decoded.time)
            if clock.count == 1 and start_s is not None:
                first = max(0, round(pts * (track.fps or USUAL_FPS)))
            index = max(0, first + track.decoded - track.held - 1)
            if pts >= wanted.end_s:
                break
            if pts >= wanted.begin_s and index % wanted.every == 0:
                yield Frame(
                    converter.image(decoded),
                    index,
                    time.time(),
                    self.name,
                    pts,
                    pixel_aspect=track.pixel_aspect(decoded),
                )
        self._finish(container, track, clock, length)

    def _finish(
        self, container: InputContainer, track: VideoTrack, clock: MediaClock, length: int
    ) -> None:
        """Report damage, and what is missing at the end of a recording that was read whole."""
        self.damaged = track.damaged
        if track.damaged:
            frames = counted(track.damaged, "damaged frame was", "damaged frames were")
            self.failures.append(f"{self.name}: {frames} skipped.")
            log.warning("%s", self.failures[-1].rstrip("."))
        if (self._selection.begin_s, self._selection.end_s) != (0.0, math.inf):
            return
        if not clock.count and (why := self._why_empty()) is not None:
            raise why
        count, skipped = clock.count, 0 if track.hurt else track.damaged
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


def _seek(container: InputContainer, track: VideoTrack, begin_s: float) -> float | None:
    """Go to the keyframe before a time, as decoding up to it takes long; where the file starts.

    None where the file is read from its start after all.
    """
    stream = track.stream
    if begin_s < SEEK_S or stream.start_time is None or stream.time_base is None:
        return None
    try:
        container.seek(stream.start_time + int(begin_s / stream.time_base), stream=stream)
    except av.error.FFmpegError:
        return None
    return float(stream.start_time * stream.time_base)


def decode_all(container: InputContainer, track: VideoTrack, name: str) -> Iterator[av.VideoFrame]:
    """The intact frames of a recording; a file that was cut ends early."""
    for packet in packets_of(container, track.stream):
        if packet.has_sidedata("encryption_info"):
            raise CodecError(f"{name}: its video is encrypted, and there is no key for it.")
        yield from track.decode(packet)


def open_file(path: Path, name: str) -> InputContainer:
    """Open a video file; raises NotFound where it is not there, SourceError where it is none."""
    if not path.is_file():
        raise NotFound(f"{name}: no such file.")
    try:
        with path.open("rb") as file:
            head = file.read(LOOKED_AT)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}).") from error
    if not head:
        raise CodecError(f"{name}: the file is empty (0 bytes).")
    if (what := foreign(head)) is not None:
        raise CodecError(f"{name}: {what}.")
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
    why = "not a video that can be decoded. Expected mp4, mov, mkv, webm, avi or the like."
    if is_cut(path):
        why = (
            f"the file is truncated ({path.stat().st_size} of {announced_size(path)} bytes), and "
            "no frame of it can be decoded. Copy or record it again."
        )
    raise CodecError(f"{name}: {why}")


def announced_length(file: str | BinaryIO, name: str) -> tuple[int, float]:
    """How many frames a video says that it has, and how many per second; 0 where it does not say.

    `file` is a path, or open and seekable. Raises a SourceError where it is no video.
    """
    try:
        opened = av.open(file, "r", metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise SourceError(f"{name}: cannot be opened as a video ({error.strerror}).") from error
    with opened as container:
        track = VideoTrack(container, name, threads=1, live=False)
        fps = track.fps or 0.0
        return track.stream.frames or round((track.seconds or 0) * fps), fps


def read_tags(path: Path) -> dict[str, str]:
    """The tags of a video file; empty for what is none."""
    try:
        with open_file(path, str(path)) as container:
            return dict(container.metadata)
    except (SourceError, av.error.FFmpegError, UnicodeError):
        return {}


class MediaClock:
    """Presentation times from the first frame on, always rising, also over repeats of a file.

    Where there are none (raw streams), or they jump back, a frame follows at the announced rate.
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

    def start_at(self, time_s: float) -> None:
        """The file starts at this time, though its first frames are not read."""
        self._offset_s, self._last_s = -time_s, -math.inf

    def rewind(self) -> None:
        """The next frame is the first one of the file again."""
        self._offset_s = None

    def seconds(self, time_s: float | None) -> float:
        """Seconds from the very first frame to this one."""
        placed_s = self.end
        if time_s is not None:
            if self._offset_s is None:
                self._offset_s = placed_s - time_s
            if time_s + self._offset_s > self._last_s:
                placed_s = time_s + self._offset_s
        self.count, self._last_s = self.count + 1, placed_s
        return placed_s
