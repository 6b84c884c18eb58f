"""Frames of a video file, one for each moment of a clock that runs on presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from edge.errors import CodecError, SourceError
from edge.sources.containers import announced_size
from edge.types import Image

DECODER = f"PyAV {av.__version__}"
"""What decodes, with its version; another one may decode what this one could not."""

_USUAL_STEP = Fraction(1, 25)
_FINEST = 1_000_000
"""The largest denominator of a rate: 29.97 becomes the fraction that was meant."""

_SHORT = Fraction(98, 100)
"""A file whose pictures end before this share of the announced time was cut."""

_PRINTABLE = b"\a\b\t\n\f\r\x1b" + bytes(range(0x20, 0x100))
_OPTIONS = {"protocol_whitelist": "file"}
"""A playlist in disguise must not make FFmpeg fetch anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """One chosen frame: its place in the order of presentation, seconds from the video's first
    frame, and uint8 [H, W, 3] BGR, turned as a player turns it.
    """

    index: int
    time_s: float
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class _Timed:
    """A decoded frame with the time that it is shown, from `time` on until `end`."""

    index: int
    time: Fraction
    end: Fraction
    frame: VideoFrame


def sampled(path: Path, fps: float) -> Iterator[Sampled]:
    """For each moment 0, 1 / fps, 2 / fps, … of a video, the frame that is nearest to it.

    A frame is given once, even where it is the nearest to several moments: a video with fewer
    frames than were asked for gives each of them. Of two that are equally near, the earlier. Of a
    file the first video stream is taken.

    Raises:
        SourceError: there is no video in it, or no frame; or, after every frame that could be
            decoded was given, that the file is damaged or was cut.
    """
    _refuse_text(path)
    decoding = _Decoding(path)
    step = 1 / Fraction(fps).limit_denominator(_FINEST)
    converter = _Converter()
    for timed in _nearest(decoding.frames(), step):
        yield Sampled(timed.index, float(timed.time), converter.image(timed.frame))
    decoding.require_whole()


def _nearest(frames: Iterator[_Timed], step: Fraction) -> Iterator[_Timed]:
    """Those nearest to the multiples of a step, each at most once."""
    before: _Timed | None = None
    given, tick = -1, 0
    for now in frames:
        last = now.time // step
        if last >= tick:
            if before is not None and given != before.index and _is_nearer(before, now, tick, step):
                given = before.index
                yield before
            if before is None or not _is_nearer(before, now, last, step):
                given = now.index
                yield now
            tick = last + 1
        before = now
    if before is not None and given != before.index and tick * step < before.end:
        yield before


def _is_nearer(before: _Timed, now: _Timed, tick: int, step: Fraction) -> bool:
    return tick * step - before.time <= now.time - tick * step


class _Decoding:
    """Decodes a file to its end, past packets that cannot be decoded, and remembers them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._damaged = 0
        self._end = Fraction(0)
        self._broken = ""
        self._announced_s = 0.0

    def frames(self) -> Iterator[_Timed]:
        """Every frame in the order of presentation, with rising times from 0 on."""
        try:
            with av.open(str(self._path.resolve()), options=_OPTIONS) as container:
                yield from self._timed(_video_of(container, self._path), container)
        except (av.error.FFmpegError, OSError) as error:
            if not self._end:
                raise SourceError(self._why_not_opened(error)) from error
            self._broken = str(error.strerror or error)

    def require_whole(self) -> None:
        """Complain of what was met on the way.

        Raises:
            SourceError: there was no frame, the file was cut, or parts could not be decoded.
        """
        shown, size = float(self._end), announced_size(self._path)
        if size is not None and self._path.stat().st_size < size:
            raise SourceError(self._cut(size))
        if not self._end:
            raise SourceError(f"{self._path}: the video has no frame that can be decoded.")
        if self._damaged or self._broken:
            met = self._broken or f"{self._damaged} packets cannot be decoded"
            raise SourceError(f"{self._path}: the video is damaged ({met}).")
        if shown < _SHORT * Fraction(self._announced_s):
            raise SourceError(
                f"{self._path}: ended after {shown:.1f} of {self._announced_s:.1f} announced "
                "seconds; the file is truncated or damaged."
            )

    def _timed(self, stream: VideoStream, container: InputContainer) -> Iterator[_Timed]:
        rate = stream.average_rate
        if "mp4" in container.format.name and stream.duration and stream.time_base:
            self._announced_s = float(stream.duration * stream.time_base)
        clock = _Clock(1 / Fraction(rate) if rate else _USUAL_STEP)
        for index, frame in enumerate(self._decoded(stream, container)):
            time, self._end = clock.place(frame)
            yield _Timed(index, time, self._end, frame)

    def _decoded(self, stream: VideoStream, container: InputContainer) -> Iterator[VideoFrame]:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self._damaged += 1
                continue
            yield from frames

    def _cut(self, whole: int) -> str:
        size = self._path.stat().st_size
        return f"{self._path}: the file is truncated ({size} of {whole} bytes). Copy it again."

    def _why_not_opened(self, error: Exception) -> str:
        whole = announced_size(self._path)
        if whole is not None and self._path.stat().st_size < whole:
            return self._cut(whole)
        reason = getattr(error, "strerror", None) or error
        return f"{self._path}: not a video that can be decoded ({reason})."


class _Clock:
    """Times from the first frame on, always rising; `usual` seconds between frames are announced.

    Joined recordings jump back, and raw streams have no times: there a frame follows the last one
    at the announced rate.
    """

    def __init__(self, usual: Fraction) -> None:
        self._usual = usual
        self._start: Fraction | None = None
        self._last, self._end = Fraction(-1), Fraction(0)

    def place(self, frame: VideoFrame) -> tuple[Fraction, Fraction]:
        """From when until when a frame is shown."""
        moment, time = _moment(frame), self._end
        if moment is not None:
            self._start = moment if self._start is None else self._start
            if moment - self._start > self._last:
                time = moment - self._start
        self._last, self._end = time, time + (_duration(frame) or self._usual)
        return self._last, self._end


def _video_of(container: InputContainer, path: Path) -> VideoStream:
    streams = [s for s in container.streams.video if not _is_cover(s)]
    if not streams:
        held = "sound alone" if container.streams.audio else "a file without moving pictures"
        raise SourceError(f"{path}: expected a video, found {held}.")
    streams[0].thread_count = 1  # the work is shared out by videos
    return streams[0]


def _is_cover(stream: Any) -> bool:
    """Whether it is the one picture of a record's cover."""
    disposition = getattr(stream, "disposition", None)
    return "attached_pic" in str(disposition)


def _moment(frame: VideoFrame) -> Fraction | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * Fraction(frame.time_base)


def _duration(frame: VideoFrame) -> Fraction | None:
    duration = getattr(frame, "duration", None)  # came with PyAV 13
    return duration * Fraction(frame.time_base) if duration and frame.time_base else None


class _Converter:
    """Makes BGR with the levels that the device's readers give."""

    def __init__(self) -> None:
        # One for all frames: each new one works out its tables again.
        self._reformatter = VideoReformatter()

    def image(self, frame: VideoFrame) -> Image:
        """uint8 [H, W, 3] BGR, contiguous and upright."""
        try:
            converted = self._reformatter.reformat(frame, format="bgr24", interpolation="BICUBIC")
        except av.error.FFmpegError as error:
            raise CodecError(
                f"pixels of the kind {frame.format.name} cannot be converted to BGR."
            ) from error
        turns = round(getattr(frame, "rotation", 0) / 90)  # the attribute came with PyAV 14
        return cast(Image, np.ascontiguousarray(np.rot90(converted.to_ndarray(), turns)))


def _refuse_text(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if not head:
        raise SourceError(f"{path}: the file is empty (0 bytes).")
    # FFmpeg would follow the links of a playlist; no coded video is free of control characters.
    if not head.translate(None, delete=_PRINTABLE):
        raise SourceError(f"{path}: expected a video, found a text file.")
