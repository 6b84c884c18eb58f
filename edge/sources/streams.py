"""Streams and played clips: each frame is decoded, and converted only when it is taken.

Every blocking call ends within its limit. PyAV applies its limit to each of its calls, of which
opening makes two and reading one for each packet, of sound too; so it is given one that runs out
(`_Countdown`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from edge.deadline import FutureTimeoutError, in_time
from edge.errors import CodecError, SourceError
from edge.pace import Pacer
from edge.sources import faults
from edge.sources.address import scheme_of
from edge.sources.base import Capture, Shot
from edge.sources.decoding import FrameConverter, VideoTrack, open_container
from edge.sources.policy import Limits, RtspTransport, Selection
from edge.sources.relay import relayed
from edge.sources.video import MediaClock, VideoSource, decode_all, open_file
from edge.sources.web import Foreign, SnapshotCapture, answer_of, names_a_file, starts_with_jpeg

_PAUSE_S = 0.01
_ASK_S = 2.0
_LATE = 5  # pictures that a decoder may hold back

_silent: set[str] = set()
"""Addresses where FFmpeg found nothing in time. They are opened in another way the next time: RTSP
without what lies between its packets, and JPEGs that follow one another as what they are."""

_JETSON = Path("/etc/nv_tegra_release")
"""Elsewhere nothing is asked for a decoder, and OpenCV need not be there."""

# Without sound there is one clock, and nothing that keeps a dead picture alive. The session
# description names the streams, so that the first packet is enough to start; all that is read
# before is a backlog to be caught up with.
_RTSP = {"allowed_media_types": "video", "probesize": "32"}
_TRANSPORT: Mapping[RtspTransport, dict[str, str]] = {
    "auto": {"rtsp_transport": "tcp+udp", "rtsp_flags": "prefer_tcp"},
    "tcp": {"rtsp_transport": "tcp"},
    "udp": {"rtsp_transport": "udp"},
}
# A transport stream must be read until it names its streams, which takes a tenth of a second. Its
# rate is not waited for.
# Segments of HLS need no name that ends as media do; which protocols they may use stays bounded.
_HTTP = {
    "probesize": "1000000",
    "analyzeduration": "1",
    "allowed_extensions": "ALL",
    "allowed_segment_extensions": "ALL",
    "extension_picky": "0",
}


class _Countdown:
    """A limit for PyAV that runs out: as a number it is what is left of it, in seconds."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.restart()

    def restart(self) -> None:
        self._ends_s = time.monotonic() + self.limit_s

    def __float__(self) -> float:
        return max(0.0, self._ends_s - time.monotonic())


def open_stream(
    url: str,
    limits: Limits,
    *,
    name: str,
    transport: RtspTransport = "auto",
    decode_threads: int = 1,
) -> Capture:
    """Open a stream; raises SourceError of the class that says why, without a password.

    RTSP in H.264 or H.265 is decoded by the board where it has a decoder. FFmpeg connects first in
    any case: it knows the codec, and says better what is wrong.
    """
    reading = _Countdown(limits.read_s)
    container = _connect(url, limits, name, reading, transport)
    codec = board_codec(url, container)
    if codec is not None:
        from edge.sources.devices import open_board_stream

        container.close()  # cameras may allow one connection only
        capture = open_board_stream(url, codec, name, limits, transport)
        if capture is not None:
            return capture
        reading = _Countdown(limits.read_s)
        container = _connect(url, limits, name, reading, transport)
    if _is_picture(container):
        container.close()
        return SnapshotCapture(url, name, limits.open_s)
    try:
        as_jpegs = partial(_connect, url, limits, name, reading, transport, "mjpeg")
        is_rtsp = scheme_of(url) == "rtsp"
        on_silence: Callable[[], object] = partial(_silent.add, url) if is_rtsp else lambda: None
        return StreamCapture(container, name, reading, decode_threads, as_jpegs, on_silence)
    except BaseException:
        container.close()
        raise


def board_codec(url: str, container: InputContainer) -> str | None:
    """The codec of a stream that the board decodes; None where it does not."""
    video = container.streams.video
    context = video[0].codec_context if video else None
    codec = context.name if context is not None else None
    if scheme_of(url) != "rtsp" or codec not in ("h264", "hevc") or not _JETSON.exists():
        return None
    from edge.sources.devices import has_board_decoder

    return codec if has_board_decoder() else None


def _is_picture(container: InputContainer) -> bool:
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def is_recording(url: str, limits: Limits, name: str, may_start_later: bool = True) -> bool:
    """Whether an address gives a recording of known length, and not a stream that goes on.

    Probed on a thread that may be abandoned, so that Ctrl-C need not wait for the answer. Where
    nothing answers it is taken for a stream, if it may start later and its name is not of a file.

    Raises:
        SourceError: a file is not there or cannot be used, or there is a page or a document.
    """

    def probe() -> bool:
        with _connect(url, limits, name, limits.read_s) as container:
            return (container.duration or 0) > 0 and not _is_picture(container)

    try:
        return in_time(probe, limits.open_s + limits.grace_s, "patchwatch-source")
    except (SourceError, FutureTimeoutError) as error:
        is_stream = may_start_later and not (isinstance(error, Foreign) or names_a_file(url))
        if isinstance(error, SourceError) and not is_stream:
            raise
        return False  # a stream will find the same, and report it


def web_recording(url: str, limits: Limits, name: str, selection: Selection) -> VideoSource:
    """A recording on a web server, read without loss."""
    # Nothing but the announced number shows that a download broke off.
    connect = partial(_connect, url, limits, name, limits.read_s)
    return VideoSource(
        name,
        connect,
        is_cut=lambda: True,
        open_timeout_s=limits.open_s,
        selection=selection,
        why_empty=lambda: answer_of(url, name, limits.open_s),
    )


def _connect(
    url: str,
    limits: Limits,
    name: str,
    reading: _Countdown | float,
    transport: RtspTransport = "auto",
    form: str | None = None,
) -> InputContainer:
    is_rtsp = scheme_of(url) in ("rtsp", "rtsps")
    options = _RTSP | _TRANSPORT[transport] if is_rtsp else _HTTP
    # PyAV's limits do not hold while a connection is closed. Closing sends a TEARDOWN, for which a
    # sender that has read nothing for days, not even our keepalives, leaves no room.
    socket_limit = {"timeout" if is_rtsp else "rw_timeout": f"{limits.read_s * 1e6:.0f}"}
    opening, address = _Countdown(limits.open_s), url
    if url in _silent and scheme_of(url) == "rtsp":
        address = relayed(url, name, limits.open_s, lambda: _silent.discard(url))
    elif url in _silent and starts_with_jpeg(url, min(_ASK_S, limits.open_s)):
        form = "mjpeg"
    opened = open_container(address, options | socket_limit, (opening, reading), form)
    if isinstance(opened, InputContainer):
        return opened
    if not float(opening):
        if not is_rtsp:
            _silent.add(url)
        raise faults.no_answer(name, limits.open_s)
    if scheme_of(url) in ("http", "https"):
        answer = answer_of(url, name, min(_ASK_S, limits.open_s))
        if answer is not None:
            raise answer
    raise faults.opening_failed(opened, url, name)


class StreamCapture:
    """An open stream. Opened, read and closed on one thread."""

    def __init__(
        self,
        container: InputContainer,
        name: str,
        reading: _Countdown,
        decode_threads: int,
        as_jpegs: Callable[[], InputContainer],
        on_silence: Callable[[], object],
    ) -> None:
        self._container, self._name, self._reading = container, name, reading
        self._threads, self._on_silence = decode_threads, on_silence
        is_parts = container.format.name == "mpjpeg"
        self._reopen = as_jpegs if is_parts else None
        self.track = VideoTrack(container, name, decode_threads)
        self._converter = FrameConverter()
        # HLS segments arrive at once, one every few seconds: played as by a player.
        self._pacer = Pacer() if container.format.name == "hls" else None
        # FFmpeg makes up the times of motion JPEG, as if 25 pictures came each second.
        self._has_times = container.format.name not in ("mpjpeg", "mjpeg")
        self._ready: deque[VideoFrame] = deque()
        self._ended = False
        self._unread = 0  # packets since the last frame
        self.fps = self.track.fps

    def read(self) -> Shot:
        """The next intact frame, within the limit of a read.

        Raises:
            SourceTimeout: nothing came.
            CodecError: nothing intact came.
            NetworkError: the connection broke.
            SourceEnded: the sender closed the stream.
        """
        self._reading.restart()
        damaged, self._unread = self.track.damaged, 0
        while not self._ready:
            if self._ended:
                raise faults.ended(self._name)
            packet = self._next_packet(damaged)
            if packet is not None:
                self._unread += 1
                self._ready += self.track.decode(packet)
        frame = self._ready.popleft()
        if self._pacer is not None:
            self._pacer.wait(frame.time)
        pts_s = frame.time if self._has_times else None
        image, aspect = partial(self._converter.image, frame), self.track.pixel_aspect(frame)
        return Shot(time.monotonic(), pts_s, image, pixel_aspect=aspect)

    def close(self) -> None:
        """Close the connection; may be called twice. Frames that were read stay good."""
        self._container.close()

    def _next_packet(self, damaged: int) -> Packet[Any] | None:
        """The next packet of the video; None if what came was something else."""
        packet = self._demux()
        if not float(self._reading):
            if self.track.damaged > damaged:
                raise CodecError(
                    f"{self._name}: no intact frame for {self._reading.limit_s:g} s. Check the "
                    "network for packet loss and the sender for overload."
                )
            if self._unread > _LATE:
                raise CodecError(
                    f"{self._name}: data comes, and no picture of it can be decoded for "
                    f"{self._reading.limit_s:g} s: its parameter sets (SPS, PPS) or a keyframe are "
                    "missing. Let the sender repeat them, every second or two."
                )
            self._on_silence()
            raise faults.fell_silent(self._name, self._reading.limit_s)
        if isinstance(packet, int) and self._reopen is not None and not self.track.decoded:
            # Parts that do not say image/jpeg are no motion JPEG to FFmpeg; so it reads pictures
            # wherever they begin. Each comes when the next one does.
            self._container.close()
            self._container, self._reopen = self._reopen(), None
            self.track = VideoTrack(self._container, self._name, self._threads)
            return None
        if isinstance(packet, int):
            raise faults.reading_failed(packet, self._name)
        if packet is None or packet.stream_index != self.track.stream.index:
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
    """A video file that is played at its own speed. Opened, read and closed on one thread."""

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        loop: bool,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._name, self._loop, self._now = path, name, loop, now
        self._pacer = Pacer(now, sleep)
        self._converter = FrameConverter()
        self._open()
        self.fps = self._track.fps
        self._clock = MediaClock(self.fps)

    def read(self) -> Shot | None:
        """The next frame, when it is due; None at the end of a clip that does not loop."""
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
        image, aspect = partial(self._converter.image, frame), self._track.pixel_aspect(frame)
        return Shot(self._now(), pts_s, image, pixel_aspect=aspect)

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
