"""A video file: annotated frames as H.264 that a browser plays.

Encoded through PyAV, because OpenCV's wheels have no H.264 encoder.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from edge.cpus import find_cpus
from edge.errors import MissingDependency, SinkError
from edge.files import sink_error
from edge.pace import FrameClock
from edge.signals import uninterrupted
from edge.sinks.paths import check_file, refuse_source
from edge.sources.containers import announced_size
from edge.types import Frame, Image

try:
    import av
    import av.container
    from av.video.frame import PictureType
    from av.video.reformatter import VideoReformatter
except ImportError as missing:
    raise MissingDependency("PyAV", "write a video", "pip install av") from missing

if TYPE_CHECKING:
    from edge.sinks.sound import Sound

_log = logging.getLogger(__name__)

TICKS_PER_S = 90_000
"""Time base: divides 24, 25, 30, 50 and 60 fps and holds camera stamps to 11 µs."""
STILL_S = 1.0
KEYFRAME_S = 2.0
"""Longest way to a point where a player can start."""
FRAGMENT_S = 0.5
"""Pictures reach the disk in stretches of this length: what a killed run loses, besides three
frames, two in the encoder and one that waits for the next to know how long it lasts."""
USUAL_FPS = 30.0
_LEAST_STEP = TICKS_PER_S // 1000

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
    `.mov` or `.mkv`) is created or replaced with the first packet. `fps` guides the encoder, never
    the time stamps. The `sound` of the file that the frames come from is copied, where the
    container can hold it.
    """

    def __init__(self, path: Path, first: Frame, fps: float, sound: Path | None = None) -> None:
        refuse_source(path, first.source)
        self.path = path
        self.source = first.source
        self.hw = first.size_hw
        self._canvas = canvas_hw(*first.shown_hw)
        self._clock = FrameClock(1 / fps, STILL_S)
        self._ticks = 0
        # From the frame before to the latest one: the best guess how long that one lasts.
        self._step = round(STILL_S * TICKS_PER_S)
        self._clock.place(first.source, first.pts, first.captured_at)
        self._keyframe_at: int | None = None
        self._lock: int | None = None
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
        codec.thread_count = min(_MOST_THREADS, find_cpus().usable)
        codec.color_range = _LIMITED_RANGE
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        self._sound: Sound | None = None
        if sound is not None and first.pts is not None:
            from edge.sinks.sound import Sound

            with self._in_words():
                self._sound = Sound(sound, first.pts, self._container)

    def place(self, frame: Frame) -> int:
        """The tick at which a frame after the first, at 0, is shown; once for each, in order."""
        time_s = self._clock.place(frame.source, frame.pts, frame.captured_at)
        ticks = max(round(time_s * TICKS_PER_S), self._ticks + _LEAST_STEP)
        self._step, self._ticks = ticks - self._ticks, ticks
        return ticks

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
            self._hear(ticks)
            if self._lock is None and self.path.exists():
                # Whoever finds the file unfinished and not locked knows that this run died.
                self._lock = os.open(self.path, os.O_RDONLY)
                with suppress(BlockingIOError):  # the run that it belongs to holds it already
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Write what the encoder still holds, and the index; raises as `add`."""
        with self._in_words(), uninterrupted():
            try:
                self._mux(None)
                self._hear(self._ticks + self._step)
            finally:
                if self._sound is not None:
                    self._sound.close()
                self._container.close()
                if self._lock is not None:
                    os.close(self._lock)

    def _mux(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            # A container takes the length of all but the last from the stamps that follow.
            packet.duration = self._step
            self._container.mux(packet)

    def _hear(self, ticks: int) -> None:
        if self._sound is not None:
            self._sound.mux_until(ticks / TICKS_PER_S)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise sink_error(self.path, OSError(error.errno, error.strerror)) from error


def canvas_hw(height: int, width: int) -> tuple[int, int]:
    """Height and width of the video for a first frame: even, and no more than hardware decodes."""
    scale = min(1.0, _LONGEST_SIDE / max(height, width), (_MOST_PIXELS / (height * width)) ** 0.5)
    if scale < 1:
        height, width = max(1, int(height * scale)), max(1, int(width * scale))
    return height + height % 2, width + width % 2


def fit(image: Image, canvas: tuple[int, int]) -> Image:
    """A picture, uint8 [H, W, 3] BGR, at an even height and width, contiguous.

    Its edge is repeated where one row or column is missing; else it is centred on black.
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

    A plain mp4 is lost whole when the process is killed. A fragmented one loses its last stretch,
    but seeks badly in many players. FFmpeg's hybrid (from 7.1 on) is both: fragments while it is
    written, a plain file when it is closed.
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


def close_left_open(path: Path) -> None:
    """Finish a recording whose run died, and mark it in its comment; any other stays as it is.

    What can be read of it is copied, without encoding it again. One that is being written is left.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        if not _is_unfinished(path):
            return
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            times = os.fstat(file.fileno())
            _copy(path, part)
        os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.replace(part, path)
        _log.warning("%s: the run that recorded it died; it is closed now, and marked so.", path)
    except BlockingIOError:
        _log.info("%s is being recorded by another run.", path)
    except (OSError, av.FFmpegError) as error:
        _log.warning("%s: a recording left open cannot be closed (%s).", path, error)
    finally:
        with suppress(OSError):
            part.unlink()


def _is_unfinished(path: Path) -> bool:
    """Whether a file has the form that ours have while they are written."""
    if path.suffix.lower() == ".mkv":
        return path.stat().st_size > 0 and announced_size(path) is None
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        while start + 8 <= size:
            file.seek(start)
            head = file.read(8)
            length = max(8, int.from_bytes(head[:4], "big"))
            # The index says that fragments follow, also where none has come yet.
            if head[4:] == b"moov" and b"mvex" in file.read(length - 8):
                return av.library_versions["libavformat"] >= _HYBRID_SINCE
            start += length
    return False


def _copy(path: Path, part: Path) -> None:
    with (
        av.open(f"file:{path}") as source,
        av.open(f"file:{part}", "w", format=_FORMATS[path.suffix.lower()]) as target,
    ):
        target.metadata["comment"] = "interrupted: the run that recorded this died"
        copies = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        with suppress(av.FFmpegError):  # where it breaks off
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream]
                    target.mux(packet)
