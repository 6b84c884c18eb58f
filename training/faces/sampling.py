"""Frames of a video file, one for each moment of a clock that runs on presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from edge.errors import SourceError
from edge.sources.containers import announced_size
from edge.sources.decoding import FrameConverter, VideoTrack
from edge.sources.video import USUAL_FPS, MediaClock, decode_all, open_file
from edge.types import Image

DECODER = f"PyAV {av.__version__}"
"""What decodes, with its version; another one may decode what this one could not."""

_FINEST = 1_000_000
"""The largest denominator of a rate or a time: 29.97 becomes the fraction that was meant."""

_SHORT = 0.98
"""A file whose pictures end before this share of the announced time was cut."""


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
    """For each moment 0, 1 / fps, 2 / fps, … of a video, the intact frame that is nearest to it.

    A frame is given once, even where it is the nearest to several moments: a video with fewer
    frames than were asked for gives each of them. Of two that are equally near, the earlier.

    Raises:
        SourceError: there is no video in it, or no frame; or, after every frame that could be
            decoded was given, that the file is damaged or was cut.
    """
    step = 1 / Fraction(fps).limit_denominator(_FINEST)
    with open_file(path, str(path)) as container:
        track, converter = VideoTrack(container, str(path), threads=1, live=False), FrameConverter()
        shown = Fraction(0)

        def frames() -> Iterator[_Timed]:
            nonlocal shown
            for timed in _timed(container, track, str(path)):
                shown = timed.end
                yield timed

        for timed in _nearest(frames(), step):
            yield Sampled(timed.index, float(timed.time), converter.image(timed.frame))
        # An mp4 says exactly how long its video is shown; others estimate it.
        exact_s = (track.seconds or 0) if "mp4" in container.format.name else 0
        _require_whole(path, float(shown), track.damaged, exact_s)


def _timed(container: InputContainer, track: VideoTrack, name: str) -> Iterator[_Timed]:
    clock = MediaClock(track.fps)
    usual = 1 / Fraction(track.fps or USUAL_FPS).limit_denominator(_FINEST)
    for frame in decode_all(container, track, name):
        time = Fraction(clock.seconds(frame.time)).limit_denominator(_FINEST)
        lasts = frame.duration * frame.time_base if frame.duration and frame.time_base else usual
        yield _Timed(track.decoded - 1, time, time + lasts, frame)


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


def _require_whole(path: Path, shown_s: float, damaged: int, exact_s: float) -> None:
    here, whole = path.stat().st_size, announced_size(path)
    if whole is not None and here < whole:
        raise SourceError(
            f"{path}: the file is truncated ({here} of {whole} bytes). Copy it again."
        )
    if not shown_s:
        raise SourceError(f"{path}: the video has no frame that can be decoded.")
    if damaged:
        raise SourceError(f"{path}: the video is damaged ({damaged} frames were skipped).")
    if shown_s < _SHORT * exact_s:
        raise SourceError(
            f"{path}: ended after {shown_s:.1f} of {exact_s:.1f} announced seconds; the file is "
            "truncated or damaged."
        )
