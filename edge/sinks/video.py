"""A video file: annotated frames as H.264 that a browser plays.

Encoded through PyAV, because OpenCV's wheels have no H.264 encoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np

from edge.errors import MissingDependency, SinkError
from edge.files import sink_error
from edge.signals import uninterrupted
from edge.sinks.paths import check_file, refuse_source
from edge.types import Frame, Image

try:
    import av
    import av.container
    from av.video.frame import PictureType
    from av.video.reformatter import VideoReformatter
except ImportError as missing:
    raise MissingDependency("PyAV", "write a video", "pip install av") from missing

TICKS_PER_S = 90_000
"""Time base: divides 24, 25, 30, 50 and 60 fps and holds camera stamps to 11 µs."""
STILL_S = 1.0
KEYFRAME_S = 2.0
"""Longest way to a point where a player can start."""
FRAGMENT_S = 0.5
"""Pictures reach the disk in stretches of this length: what a killed run loses, besides three
frames, two in the encoder and one that waits for the next to know how long it lasts."""
USUAL_FPS = 30.0
LONGEST_GAP_S, JITTER_S = 3600.0, 1.0
"""A longer step, or one further back, is a clock that was set or a source that started again."""

# What decoders in graphics hardware take at most: H.264 level 5.2.
_LONGEST_SIDE = 4096
_MOST_PIXELS = 4096 * 2304

_ENCODER: Final = "libx264"
# Without B-frames packets come in the order they are shown, so nothing waits for a later frame. A
# look-ahead of one frame is enough for x264 to spare what no later frame builds upon, which without
# any it cannot, and keeps little from the disk that a killed run would lose.
_ENCODING = {
    "preset": "veryfast",
    "crf": "23",
    "profile": "high",
    "bf": "0",
    "rc-lookahead": "1",
    "forced-idr": "1",
}
# More threads hold back more frames, which a killed run loses and which cost memory at 4K.
_MOST_THREADS = 4
_BT709 = 1
_LIMITED_RANGE = 1

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_HYBRID_SINCE = (61, 7)  # FFmpeg 7.1


class VideoFile:
    """One H.264 stream at the pace of the frames, whatever that is.

    The first frame decides the size: padded to even sides by repeating its edge, shrunk to what
    hardware decodes (4096 pixels a side, 4096×2304 in all). Pictures of another size are
    letterboxed into it. Colours are BT.709 in limited range, and marked as such. The file (`.mp4`,
    `.mov` or `.mkv`) is created or replaced with the first packet.

    Args:
        path: of the file.
        first: the frame of the first picture.
        fps: expected; guides the encoder, never the time stamps.
    """

    def __init__(self, path: Path, first: Frame, fps: float) -> None:
        refuse_source(path, first.source)
        self.path = path
        self.source = first.source
        self.hw = first.size_hw
        self._canvas = canvas_hw(*self.hw)
        self._timeline = Timeline(1 / fps)
        self._timeline.place(first)
        self._keyframe_at: int | None = None
        self._reformatter = VideoReformatter()
        suffix = path.suffix.lower()
        # "file:" keeps a colon in the name from being read as a protocol.
        self._container = av.open(
            f"file:{path}",
            "w",
            format=_FORMATS[suffix],
            options=muxing_options(suffix, av.library_versions["libavformat"]),
        )
        self._stream = self._container.add_stream(
            _ENCODER, rate=Fraction(fps).limit_denominator(1001), options=_ENCODING
        )
        codec = self._stream.codec_context
        codec.height, codec.width = self._canvas
        codec.pix_fmt = "yuv420p"
        codec.time_base = Fraction(1, TICKS_PER_S)
        codec.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
        codec.color_range = _LIMITED_RANGE
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709

    def place(self, frame: Frame) -> int:
        """The tick at which a frame after the first, at 0, is shown; once for each, in order."""
        return self._timeline.place(frame)

    def add(self, image: Image, ticks: int) -> None:
        """Encode a picture, uint8 [H, W, 3] BGR, at a tick that `place` gave.

        Raises:
            SinkError: it cannot be written (disk full, for instance).
        """
        with self._in_words(), uninterrupted():
            picture = self._reformatter.reformat(
                av.VideoFrame.from_ndarray(fit(image, self._canvas), format="bgr24"),
                format="yuv420p",
                dst_colorspace=_BT709,
            )
            picture.pts = ticks
            picture.time_base = Fraction(1, TICKS_PER_S)
            # By time: counted in frames, a slow source would wait for a keyframe for minutes.
            if self._keyframe_at is None or ticks >= self._keyframe_at:
                self._keyframe_at = ticks + round(KEYFRAME_S * TICKS_PER_S)
                picture.pict_type = PictureType.I
            else:
                picture.pict_type = PictureType.NONE
            self._mux(picture)

    def close(self) -> None:
        """Write what the encoder still holds, and the index; raises as `add`."""
        with self._in_words(), uninterrupted():
            try:
                self._mux(None)
            finally:
                self._container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            # A container takes the length of all but the last from the stamps that follow.
            packet.duration = self._timeline.step
            self._container.mux(packet)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise sink_error(self.path, OSError(error.errno, error.strerror)) from error


class _Stamp(NamedTuple):
    source: str
    pts: float | None
    captured_at: float


class Timeline:
    """Places frames in time: strictly increasing ticks from stamps that need not be so.

    The rate varies as the frames' own stamps do: presentation time where there is one, else capture
    time. Gaps are kept, for in a live recording they are real. Equal and slightly backward stamps
    move to the least step after the one before; a clock that leaps counts as one usual step.
    """

    LEAST = TICKS_PER_S // 1000

    def __init__(self, usual_s: float) -> None:
        self._usual_s = usual_s
        self._last: _Stamp | None = None
        self._time_s = 0.0
        self._ticks = 0
        self.step = round(STILL_S * TICKS_PER_S)
        """Ticks from the frame before to the latest one: the best guess how long that one lasts."""

    def place(self, frame: Frame) -> int:
        """The tick, 0 for the first frame, at which a frame is shown."""
        stamp = _Stamp(frame.source, frame.pts, frame.captured_at)
        if self._last is not None:
            self._time_s += self._step_s(stamp, self._last)
            ticks = max(round(self._time_s * TICKS_PER_S), self._ticks + self.LEAST)
            self.step, self._ticks = ticks - self._ticks, ticks
        self._last = stamp
        return self._ticks

    def _step_s(self, stamp: _Stamp, last: _Stamp) -> float:
        if stamp.source != last.source:
            return STILL_S if stamp.pts is None else self._usual_s
        if stamp.pts is None or last.pts is None:
            step = stamp.captured_at - last.captured_at
        else:
            step = stamp.pts - last.pts
        return step if -JITTER_S < step <= LONGEST_GAP_S else self._usual_s


def canvas_hw(height: int, width: int) -> tuple[int, int]:
    """Height and width of the video for a first frame: even, and no more than hardware decodes."""
    scale = min(1.0, _LONGEST_SIDE / max(height, width), (_MOST_PIXELS / (height * width)) ** 0.5)
    if scale < 1:
        height, width = max(1, int(height * scale)), max(1, int(width * scale))
    return height + height % 2, width + width % 2


def fit(image: Image, canvas: tuple[int, int]) -> Image:
    """Bring a picture, uint8 [H, W, 3] BGR, to an even height and width.

    The picture itself, contiguous; with its edge repeated where one row or column is missing; else
    scaled and centred on black.
    """
    height, width = canvas
    if not (0 <= height - image.shape[0] <= 1 and 0 <= width - image.shape[1] <= 1):
        scale = min(height / image.shape[0], width / image.shape[1])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    down, right = height - image.shape[0], width - image.shape[1]
    if not (down or right):
        return np.ascontiguousarray(image)
    edge = cv2.BORDER_REPLICATE if max(down, right) <= 1 else cv2.BORDER_CONSTANT
    top, left = down // 2, right // 2
    padded = cv2.copyMakeBorder(image, top, down - top, left, right - left, edge, value=(0, 0, 0))
    return np.asarray(padded, np.uint8)


def muxing_options(suffix: str, libavformat: tuple[int, ...]) -> dict[str, str]:
    """Options that keep a file playable however the run ends.

    An mp4 with its index at the end, or moved to the front (`faststart`), is lost whole when the
    process is killed. A fragmented one loses its last stretch, but has no length and seeks badly in
    many players. FFmpeg's hybrid is both: fragments while it is written, turned into a plain file
    when it is closed. Before FFmpeg 7.1 there is no hybrid, and the file stays fragmented.
    """
    # Each fragment reaches the disk when it is complete, not when a buffer happens to be full.
    options = {"flush_packets": "1"}
    if suffix == ".mkv":
        return options | {"cluster_time_limit": str(round(FRAGMENT_S * 1e3))}
    options["frag_duration"] = str(round(FRAGMENT_S * 1e6))
    if libavformat >= _HYBRID_SINCE:
        return options | {"movflags": "hybrid_fragmented+default_base_moof"}
    return options | {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def check_video(path: Path) -> None:
    """Check all that can be checked before the first frame; raises a SinkError, harms nothing."""
    if path.suffix.lower() not in _FORMATS:
        raise SinkError(
            f"{path} cannot be written as a video: its name must end in {', '.join(_FORMATS)}."
        )
    try:
        av.codec.Codec(_ENCODER, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise SinkError(
            f"this build of PyAV has no H.264 encoder ({_ENCODER}). Install the one that has: "
            "pip install --force-reinstall --only-binary av av"
        ) from error
    check_file(path)
