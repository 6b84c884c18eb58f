"""Streams and played clips: each frame is decoded, and converted only when it is taken.

Every blocking call ends within its limit. PyAV applies its limit to each of its calls, of which
opening makes two and reading one for each packet, of sound too; so it is given one that runs out
(`_Countdown`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from edge.errors import CodecError, SourceError
from edge.pace import Pacer
from edge.sources import faults
from edge.sources.address import scheme_of
from edge.sources.base import Shot
from edge.sources.decoding import FrameConverter, VideoTrack, open_container
from edge.sources.policy import Limits
from edge.sources.video import MediaClock, VideoSource, decode_all, open_file

_PAUSE_S = 0.01

# UDP loses packets. Without sound there is one clock, and nothing that keeps a dead picture alive.
# The session description names the streams, so that the first packet is enough to start; all that
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

    def __float__(self) -> float:
        return max(0.0, self._ends_s - time.monotonic())


def open_stream(url: str, limits: Limits, *, name: str, decode_threads: int = 1) -> StreamCapture:
    """Open a stream.

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


def is_recording(url: str, limits: Limits, name: str) -> bool:
    """Whether an address gives a recording of known length, and not a stream that goes on.

    Probed on a thread that may be abandoned, so that Ctrl-C need not wait for the answer. Where
    nothing answers it is taken for a stream, which may start later.
    """
    answer: Future[bool] = Future()

    def probe() -> None:
        try:
            container = _connect(url, limits, name, limits.read_s)
            answer.set_result((container.duration or 0) > 0)
            container.close()
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=probe, name="patchwatch-source", daemon=True).start()
    try:
        return answer.result(limits.open_s + limits.grace_s)
    except (SourceError, FutureTimeoutError):  # a stream will find the same, and report it
        return False


def web_recording(url: str, limits: Limits, name: str) -> VideoSource:
    """A recording on a web server, read without loss."""
    # Nothing but the announced number shows that a download broke off.
    connect = partial(_connect, url, limits, name, limits.read_s)
    return VideoSource(name, connect, is_cut=lambda: True, open_timeout_s=limits.open_s)


def _connect(url: str, limits: Limits, name: str, reading: _Countdown | float) -> InputContainer:
    options = _RTSP if scheme_of(url) in ("rtsp", "rtsps") else _HTTP
    # PyAV's limits do not hold while a connection is closed. Closing sends a TEARDOWN, for which a
    # sender that has read nothing for days, not even our keepalives, leaves no room.
    socket_limit = {"timeout" if options is _RTSP else "rw_timeout": f"{limits.read_s * 1e6:.0f}"}
    opening = _Countdown(limits.open_s)
    opened = open_container(url, options | socket_limit, (opening, reading))
    if isinstance(opened, InputContainer):
        return opened
    if not float(opening):
        raise faults.no_answer(name, limits.open_s)
    raise faults.opening_failed(opened, url, name)


class StreamCapture:
    """An open stream. Opened, read and closed on one thread."""

    def __init__(
        self, container: InputContainer, name: str, reading: _Countdown, decode_threads: int
    ) -> None:
        self._container = container
        self._name = name
        self._reading = reading
        self._track = VideoTrack(container, name, decode_threads)
        self._converter = FrameConverter()
        # HLS segments arrive at once, one every few seconds: played as by a player.
        self._pacer = Pacer() if container.format.name == "hls" else None
        # FFmpeg makes up the times of motion JPEG, as if 25 pictures came each second.
        self._has_times = container.format.name != "mpjpeg"
        self._ready: deque[VideoFrame] = deque()
        self._ended = False
        self.fps = self._track.fps

    @property
    def damaged(self) -> int:
        """How many frames were skipped because of damage."""
        return self._track.damaged

    def read(self) -> Shot:
        """The next intact frame, within the limit of a read.

        Raises:
            SourceTimeout: nothing came.
            CodecError: nothing intact came.
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
        if self._pacer is not None:
            self._pacer.wait(frame.time)
        pts_s = frame.time if self._has_times else None
        return Shot(time.monotonic(), pts_s, partial(self._converter.image, frame))

    def close(self) -> None:
        """Close the connection; may be called twice. Frames that were read stay good."""
        self._container.close()

    def _next_packet(self, damaged: int) -> Packet[Any] | None:
        """The next packet of the video; None if what came was something else."""
        packet = self._demux()
        if not float(self._reading):
            if self.damaged > damaged:
                raise CodecError(
                    f"{self._name}: no intact frame for {self._reading.limit_s:g} s. Check the "
                    "network for packet loss and the sender for overload."
                )
            raise faults.fell_silent(self._name, self._reading.limit_s)
        if isinstance(packet, int):
            raise faults.reading_failed(packet, self._name)
        if packet is None or packet.stream_index != self._track.stream.index:
            return None
        self._ended = packet.size == 0 and packet.dts is None  # PyAV's sign of the end
        return packet

    def _demux(self) -> Packet[Any] | int | None:
        """A packet, or FFmpeg's error number; None if there is none yet."""
        # A new one for each packet, so that each gets what is left of the limit; and closed, as one
        # that is only dropped leaves a quarter of a kilobyte behind.
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

    Raises:
        SourceError: it is not there, or no video.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        loop: bool,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._name = name
        self._loop = loop
        self._now = now
        self._pacer = Pacer(now, sleep)
        self._converter = FrameConverter()
        self._open()
        self.fps = self._track.fps
        self._clock = MediaClock(self.fps)

    def read(self) -> Shot | None:
        """The next frame, when it is due; None at the end of a clip that does not loop.

        Raises:
            CodecError: nothing of it can be decoded.
        """
        frame = next(self._frames, None)
        if frame is None and self._clock.count and not self._loop:
            return None
        if frame is None and self._clock.count:
            self._container.close()
            self._open()
            self._clock.rewind()
            frame = next(self._frames, None)
        if frame is None:
            raise CodecError(f"{self._name}: no frame of it can be decoded.")
        pts_s = self._clock.seconds(frame.time)
        self._pacer.wait(pts_s)
        return Shot(self._now(), pts_s, partial(self._converter.image, frame))

    def close(self) -> None:
        """Close the file; may be called twice. Frames that were read stay good."""
        self._container.close()

    def _open(self) -> None:
        self._container = open_file(self._path, self._name)
        try:
            self._track = VideoTrack(self._container, self._name, threads=1)
        except BaseException:
            self._container.close()
            raise
        self._frames = decode_all(self._container, self._track, self._name)
