"""Streams and clips through PyAV: each frame is decoded, and converted only when it is wanted.

Every blocking call ends within its limit. PyAV gives each of its calls the limit anew, of which
opening makes two and reading one for each packet, of sound too; so it is given one that runs out
(`_Countdown`).

A damaged picture is no picture: where a decoder paints over what was lost, the paint looks like a
manipulation, and so does all that is predicted from it. Frames are passed over from the first
damage to the next picture that needs no other. Of H.264 and MPEG-4 the decoder tells most damage,
of HEVC and JPEG hardly any.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from edge.errors import CodecError, MissingDependency, NotFound
from edge.sources import faults
from edge.sources.address import redact, scheme_of
from edge.sources.capture import Shot
from edge.sources.policy import Limits
from edge.types import Image

try:
    import av
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream
except ImportError as missing:
    raise MissingDependency("PyAV", "read streams", "pip install av") from missing

# FFmpeg's own lines may hold an address with its password; PyAV 12 shows them unless told.
if av.logging.get_level() is not None:
    av.logging.set_level(av.logging.PANIC)

HEAL_S = 10.0
"""After damage, a picture that needs no other is waited for so long. Cameras send one every few
seconds; streams that never do renew their picture part by part in less."""

LONGEST_STEP_S = 5.0
"""A longer pause in a clip is not waited for."""

LAG_S = 1.0
"""Whoever plays a clip and is later than this does not try to catch up."""

_HIGHEST_FPS = 1000.0
_USUAL_FPS = 25.0
_PAUSE_S = 0.01
_LISTS = {"hls", "concat", "dash", "tty"}
"""Formats that are texts: lists of files elsewhere, and text drawn as a film."""

# UDP loses packets. Without sound there is one clock, and nothing that keeps a dead picture alive.
# The session description names the streams, so that the first packet is enough to begin; all that
# is read before is a backlog to be caught up with.
_RTSP = {"rtsp_transport": "tcp", "allowed_media_types": "video", "probesize": "32"}
# A transport stream must be read until it names its streams, which takes a tenth of a second. Its
# rate is not waited for.
_HTTP = {"probesize": "1000000", "analyzeduration": "1"}


class _Countdown:
    """A limit for PyAV that runs out: as a number it is what is left of it, in seconds."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.restart()

    def restart(self) -> None:
        """The whole limit is left again."""
        self._ends_s = time.monotonic() + self.limit_s

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self._ends_s

    def __float__(self) -> float:
        return max(0.0, self._ends_s - time.monotonic())


def open_stream(url: str, limits: Limits, *, name: str, decode_threads: int = 1) -> StreamCapture:
    """Open a stream.

    Args:
        url: rtsp, rtsps, http or https, with credentials where they are needed.
        limits: how long to wait.
        name: fit to be shown.
        decode_threads: each beyond the first holds one frame back.

    Raises:
        SourceError: of the class that says why; nothing in it shows a password.
    """
    reading = _Countdown(limits.read_s)
    container = _connect(url, limits, name, reading)
    try:
        return StreamCapture(container, name, reading, decode_threads)
    except BaseException:
        container.close()
        raise


def is_recording(url: str, limits: Limits) -> bool:
    """Whether an address gives a recording of known length, and not a stream that goes on.

    Args:
        url: http or https.
        limits: how long to wait.

    Raises:
        SourceError: it cannot be opened.
    """
    container = _connect(url, limits, redact(url), _Countdown(limits.read_s))
    try:
        return (container.duration or 0) > 0
    finally:
        container.close()


def open_clip(
    path: Path,
    name: str,
    *,
    loop: bool,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> ClipCapture:
    """Open a video file, to be played at its own speed.

    Args:
        path: of the file.
        name: fit to be shown.
        loop: play it over and over.
        sleep: waits for so many seconds.
        now: seconds.

    Raises:
        SourceError: it is not there, or no video.
    """
    return ClipCapture(path, name, loop, sleep, now)


def _connect(url: str, limits: Limits, name: str, reading: _Countdown) -> InputContainer:
    options = _RTSP if scheme_of(url) in ("rtsp", "rtsps") else _HTTP
    # PyAV's limits do not hold while a connection is closed. Closing says good-bye, for which a
    # sender that has read nothing for days, not even our signs of life, leaves no room.
    socket_limit = {"timeout" if options is _RTSP else "rw_timeout": f"{limits.read_s * 1e6:.0f}"}
    opening = _Countdown(limits.open_s)
    opened = _open(url, options | socket_limit, (opening, reading))
    if isinstance(opened, InputContainer):
        return opened
    if opening.over:
        raise faults.no_answer(name, limits.open_s)
    raise faults.opening_failed(opened, url, name)


def _open(
    address: str, options: dict[str, str], limits: tuple[_Countdown, _Countdown] | None = None
) -> InputContainer | int:
    """What was opened, or FFmpeg's error number."""
    timeout: Any = limits  # whatever has a float is taken
    try:
        return av.open(address, options=options, timeout=timeout, metadata_errors="replace")
    except av.error.FFmpegError as error:
        # Only the number: the error holds the address with its password, and so would any that is
        # raised from here.
        return error.errno or 0


class StreamCapture:
    """An open stream. Opened, read and closed on one thread.

    Args:
        container: open; closed with this.
        name: fit to be shown.
        reading: the limit of a read, as it was given to PyAV.
        decode_threads: as for `open_stream`.

    Attributes:
        fps: announced frames per second; None where unknown.
        size_hw: announced height and width in pixels; None where unknown.
    """

    def __init__(
        self, container: InputContainer, name: str, reading: _Countdown, decode_threads: int
    ) -> None:
        self._container = container
        self._name = name
        self._reading = reading
        self._track = _Track(container, name, decode_threads)
        self._converter = _Converter()
        # Its segments come at once, one every few seconds: played as by a player.
        in_segments = container.format.name == "hls"
        # FFmpeg makes up the times of motion JPEG, as if 25 pictures came each second.
        self._has_times = container.format.name != "mpjpeg"
        self._pace = _Pace(time.sleep, time.monotonic) if in_segments else None
        self._ready: deque[VideoFrame] = deque()
        self._ended = False
        self.fps, self.size_hw = self._track.fps, self._track.size_hw

    @property
    def damaged(self) -> int:
        """How many pictures were passed over because of damage."""
        return self._track.damaged

    def read(self) -> Shot:
        """The next undamaged frame, blocking for no longer than the limit of a read.

        Raises:
            SourceTimeout: nothing came.
            CodecError: nothing undamaged came.
            NetworkError: the connection broke.
            SourceEnded: the sender closed the stream.
        """
        self._reading.restart()
        damaged = self.damaged
        while not self._ready:
            if self._ended:
                raise faults.ended(self._name)
            packet = self._next_packet(damaged)
            if packet is not None:
                self._ready += self._track.decode(packet)
        frame = self._ready.popleft()
        if self._pace is not None:
            self._pace.wait(frame.time)
        pts_s = frame.time if self._has_times else None
        return Shot(time.monotonic(), pts_s, partial(self._converter.image, frame))

    def close(self) -> None:
        """Close the connection; may be called twice. Frames that were read stay good."""
        self._container.close()

    def _next_packet(self, damaged: int) -> Packet[Any] | None:
        """The next packet of the pictures; None if what came was something else."""
        packet = self._demux()
        if self._reading.over:
            if self.damaged > damaged:
                raise faults.undecodable(self._name, self._reading.limit_s)
            raise faults.fell_silent(self._name, self._reading.limit_s)
        if isinstance(packet, int):
            raise faults.reading_failed(packet, self._name)
        if packet is None or packet.stream_index != self._track.index:
            return None
        self._ended = _is_end(packet)
        return packet

    def _demux(self) -> Packet[Any] | int | None:
        """A packet, or FFmpeg's error number; None if there is none yet."""
        # Anew for each packet, so that each gets what is left of the limit; and closed, as one that
        # is only dropped leaves a quarter of a kilobyte behind.
        packets = cast("Generator[Packet[Any], None, None]", self._container.demux())
        try:
            return next(packets, None)
        except av.error.BlockingIOError:
            time.sleep(_PAUSE_S)
            return None
        except av.error.FFmpegError as error:
            return error.errno or 0
        finally:
            packets.close()


class ClipCapture:
    """A video file that is played at its own speed. Opened, read and closed on one thread.

    Args:
        path: of the file.
        name: fit to be shown.
        loop: play it over and over.
        sleep: waits for so many seconds.
        now: seconds.

    Attributes:
        fps: announced frames per second; None where unknown.
        size_hw: announced height and width in pixels; None where unknown.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        loop: bool,
        sleep: Callable[[float], None],
        now: Callable[[], float],
    ) -> None:
        self._path = path
        self._name = name
        self._loop = loop
        self._now = now
        self._pace = _Pace(sleep, now)
        self._converter = _Converter(upright=True)
        self._times = _LoopTimes()
        self._rewind()
        self.fps, self.size_hw = self._track.fps, self._track.size_hw

    def read(self) -> Shot | None:
        """The next frame, when its time has come; None at the end of a clip that does not loop.

        Raises:
            CodecError: nothing of it can be decoded.
        """
        frame = next(self._frames, None)
        if frame is None and self._loop and self._times.count:
            self._container.close()
            self._rewind()
            frame = next(self._frames, None)
        if frame is None:
            if self._times.count and not self._loop:
                return None
            raise CodecError(f"{self._name}: no frame of it can be decoded.")
        pts_s = self._times.seconds(frame.time, self._track.fps or _USUAL_FPS)
        self._pace.wait(pts_s)
        return Shot(self._now(), pts_s, partial(self._converter.image, frame))

    def close(self) -> None:
        """Close the file; may be called twice. Frames that were read stay good."""
        self._container.close()

    def _rewind(self) -> None:
        self._container = _open_file(self._path, self._name)
        try:
            self._track = _Track(self._container, self._name, threads=1)
        except BaseException:
            self._container.close()
            raise
        self._frames = self._decode_all()
        self._times.rewind()

    def _decode_all(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._track.video)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # a file that was cut
                return
            if packet is None:
                return
            yield from self._track.decode(packet)


def _open_file(path: Path, name: str) -> InputContainer:
    if not path.is_file():
        raise NotFound(f"{name}: no such file.")
    # Absolute, because FFmpeg takes the text before a colon for a protocol.
    opened = _open(str(path.resolve()), {"protocol_whitelist": "file"})
    if isinstance(opened, InputContainer):
        if opened.format.name not in _LISTS:
            return opened
        opened.close()
    raise CodecError(
        f"{name}: not a video that can be decoded. Expected mp4, mov, mkv, webm, avi or the like."
    )


class _Track:
    """The pictures of a container, without those that were damaged.

    Args:
        container: open.
        name: fit to be shown.
        threads: to decode with.

    Attributes:
        video: the stream in the container.
        index: its number there.
        damaged: pictures that were passed over.
    """

    def __init__(self, container: InputContainer, name: str, threads: int) -> None:
        if not container.streams.video:
            raise faults.no_video(name)
        self.video: VideoStream = container.streams.video[0]
        codec = self.video.codec_context
        if codec is None:
            raise faults.unknown_codec(name)
        codec.thread_count = threads
        if threads > 1:
            codec.thread_type = "AUTO"
        self.index = self.video.index
        self.damaged = 0
        self._begun = False
        self._hurt_s: float | None = None

    @property
    def fps(self) -> float | None:
        """Announced frames per second; None where it says nothing sensible."""
        rate: Fraction | None = self.video.average_rate or self.video.codec_context.framerate
        return float(rate) if rate and 0 < rate <= _HIGHEST_FPS else None

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Announced height and width in pixels."""
        codec = self.video.codec_context
        return (codec.height, codec.width) if codec.height and codec.width else None

    def decode(self, packet: Packet[Any]) -> list[VideoFrame]:
        """The undamaged pictures that a packet completes."""
        if packet.is_corrupt:  # cut with its connection, or with a gap in its transport stream
            self._hurt()
            self.damaged += 1
            return []
        try:
            frames = self.video.decode(packet)
        except av.error.FFmpegError:
            self._hurt()
            return []
        return [frame for frame in frames if self._is_whole(frame)]

    def _is_whole(self, frame: VideoFrame) -> bool:
        if frame.is_corrupt:
            self._hurt()
        elif frame.key_frame or self._is_healed():
            self._hurt_s = None
        self._begun = True
        self.damaged += self._hurt_s is not None
        return self._hurt_s is None

    def _hurt(self) -> None:
        # Before the first picture there is nothing to damage: a stream was joined in the middle.
        if self._begun and self._hurt_s is None:
            self._hurt_s = time.monotonic()

    def _is_healed(self) -> bool:
        return self._hurt_s is None or time.monotonic() - self._hurt_s > HEAL_S


def _is_end(packet: Packet[Any]) -> bool:
    """Whether it is PyAV's sign that nothing more comes."""
    return packet.size == 0 and packet.dts is None


class _Converter:
    """Makes BGR of decoded frames, with the levels that OpenCV's reader gives.

    Args:
        upright: turn pictures as their file says.
    """

    def __init__(self, upright: bool = False) -> None:
        self._upright = upright
        # One for all frames: each that is made anew works out its tables again, and PyAV would
        # give each threads of its own, which last as long as the frame.
        self._reformatter = VideoReformatter()
        self._busy = threading.Lock()

    def image(self, frame: VideoFrame) -> Image:
        """The picture, uint8 [H, W, 3] BGR, contiguous.

        Raises:
            CodecError: its pixels are of a kind that cannot be converted.
        """
        try:
            with self._busy:
                converted = self._reformatter.reformat(
                    frame, format="bgr24", interpolation="BICUBIC", **_ONE_THREAD
                )
        except av.error.FFmpegError:
            kind = frame.format.name
            raise CodecError(f"pixels of the kind {kind} cannot be converted to BGR.") from None
        image = cast(Image, converted.to_ndarray())
        turns = getattr(frame, "rotation", 0) // 90 if self._upright else 0  # PyAV 13 and newer
        return np.ascontiguousarray(np.rot90(image, turns) if turns else image)


def _one_thread() -> dict[str, int]:
    """The option of a conversion without threads; PyAV 16 and older have none, and no threads."""
    try:
        VideoFrame(2, 2, "yuv420p").reformat(format="bgr24", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}


_ONE_THREAD = _one_thread()


class _Pace:
    """Holds frames back until it is their time.

    Args:
        sleep: waits for so many seconds.
        now: seconds.
    """

    def __init__(self, sleep: Callable[[float], None], now: Callable[[], float]) -> None:
        self._sleep = sleep
        self._now = now
        self._last_s: float | None = None
        self._offset_s = 0.0  # our clock less that of the frames

    def wait(self, time_s: float | None) -> None:
        """Return when it is time for the frame of this time; at once where it has none."""
        if time_s is None:
            return
        now_s = self._now()
        early_s = time_s + self._offset_s - now_s
        goes_on = self._last_s is not None and 0 <= time_s - self._last_s <= LONGEST_STEP_S
        self._last_s = time_s
        if not goes_on or early_s < -LAG_S:
            self._offset_s = now_s - time_s
        elif early_s > 0:
            self._sleep(early_s)


class _LoopTimes:
    """Times of the frames of a clip that is played over and over, always rising."""

    def __init__(self) -> None:
        self.count = 0
        self._step_s = 0.0
        self._last_s = 0.0
        self._offset_s: float | None = None

    def rewind(self) -> None:
        """The next frame is the first one of the file."""
        self._offset_s = None

    def seconds(self, time_s: float | None, fps: float) -> float:
        """Seconds from the very first frame to this one."""
        follows_s = self._last_s + (self._step_s or 1 / fps) if self.count else 0.0
        if time_s is None:
            placed_s = follows_s
        elif self._offset_s is None:
            placed_s, self._offset_s = follows_s, follows_s - time_s
        else:
            placed_s = time_s + self._offset_s
        if self.count and placed_s <= self._last_s:
            placed_s = follows_s
        if self.count:
            self._step_s = placed_s - self._last_s
        self.count += 1
        self._last_s = placed_s
        return placed_s
