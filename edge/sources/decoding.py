"""Video through PyAV: which track of a container, its intact frames, and their conversion to BGR.

A damaged frame is no evidence: where a decoder conceals what was lost, the concealment looks like a
manipulation, and so does everything predicted from it. Frames are skipped from the first damage to
the next one that needs no other. Most decoders report damage that they find; those of HEVC and JPEG
do only where they are told to refuse it. What a decoder leaves out in silence, of AV1 and HEVC, is
missed by its time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from edge.errors import CodecError, MissingDependency
from edge.sources.containers import codec_name
from edge.types import Image

try:
    import av
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.filter import Graph
    from av.packet import Packet
    from av.stream import Disposition
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream
except ImportError as missing:
    raise MissingDependency("PyAV", "read videos and streams", "pip install av") from missing

log = logging.getLogger(__name__)

# FFmpeg's own lines may hold an address with its password.
if av.logging.get_level() is not None:
    av.logging.set_level(av.logging.PANIC)

HEAL_S = 10.0
"""How long a frame that needs no other is waited for after damage. Cameras send one every few
seconds; streams that never do renew their picture part by part in less."""

_STRICT = ("hevc", "mjpeg")
"""Decoders that conceal damage without a word unless they are told to refuse it."""
_MOST_REFUSED, _MOST_KEPT = 3, 300
"""A stream whose first pictures are all refused is odd and not damaged: so many, and the packets
that are decoded again."""
_HIGHEST_FPS = 1000.0
_LEAST_ASPECT = 0.2
_interlaced: set[str] = set()  # sources of which it was said
_HDR_TRANSFERS = (16, 18)  # ITU-T H.273: PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)
_WIDE_PRIMARIES = (9, 11, 12)  # ITU-T H.273: BT.2020, and P3 with either white
_TO_BT709 = "out_primaries=bt709:out_transfer=bt709:flags=bicubic"
"""Options of FFmpeg's `scale`, with which it converts gamut and maps HDR tones."""


def open_container(
    address: str, options: dict[str, str], limits: Any = None, form: str | None = None
) -> InputContainer | int:
    """What was opened, of a form that FFmpeg finds out unless it is given, or its error number."""
    try:
        return av.open(
            address, format=form, options=options, timeout=limits, metadata_errors="replace"
        )
    except av.error.FFmpegError as error:
        # Only the number: the error holds the address with its password, and so would any that is
        # raised from here.
        return error.errno or 0


def packets_of(container: InputContainer, stream: Any) -> Iterator[Packet[Any]]:
    """The packets of one stream of a recording; a file that was cut ends early."""
    packets = container.demux(stream)
    with suppress(av.error.FFmpegError):
        yield from packets


class VideoTrack:
    """The intact frames of a container's video: of several tracks the longest, no cover picture.

    Args:
        container: open.
        name: fit to be shown.
        threads: to decode with; 0 for as many as there are cores.
        live: whether damage heals by wall-clock time; else by that of the frames.

    Attributes:
        stream: the track.
        seconds: its announced length; None where it says none.
        fps: announced frames per second; None where it says nothing sensible.
        damaged: frames that were skipped.
        decoded: frames so far, damaged ones too.
        held: of them, those that wait for the next one to be deinterlaced.
        hurt: whether damage has not healed yet.
    """

    def __init__(
        self, container: InputContainer, name: str, threads: int, live: bool = True
    ) -> None:
        self.stream = _longest(container, name)
        self.seconds = _seconds(self.stream)
        codec: Any = self.stream.codec_context  # None, whatever PyAV's stubs say, of an unknown one
        if codec is None:
            called = codec_name(Path(container.name))
            what = f"its video codec, {called}," if called else "its video codec"
            raise CodecError(f"{name}: {what} cannot be decoded here. Use H.264 instead.")
        _set_threads(codec, threads)
        if codec.name in _STRICT:
            codec.options = {"err_detect": "explode"}
        rate: Fraction | None = self.stream.average_rate or codec.framerate
        self.fps = float(rate) if rate and 0 < rate <= _HIGHEST_FPS else None
        self.damaged, self.decoded, self.held, self.hurt = 0, 0, 0, False
        self._name = name
        self._fields: tuple[tuple[int, int, str], Graph] | None = None  # joins fields to frames
        self._live = live
        self._is_joined = not live and container.format.name == "mpegts"
        self._loses_silently = codec.name in ("libdav1d", "hevc")
        self._is_late = codec.name == "hevc"
        self._codec: VideoCodecContext = codec
        self._threads = threads
        # Of a strict decoder, up to its first picture that needs no other.
        early: deque[Packet[Any]] = deque(maxlen=_MOST_KEPT)
        self._early = early if codec.name in _STRICT else None
        self._refusals = 0
        self._times: deque[int | None] = deque(maxlen=_MOST_KEPT)  # of the packets that were given
        self._refused: set[int | None] = set()
        self._sent: set[int] = set()  # times of packets whose frames have not come yet
        self._safe: set[int] = set()  # of these, those decoded before the present damage
        self._first: int | None = None  # time of the first frame; what leads to it is not there
        self._started = False
        self._hurt_since_s: float | None = None

    def decode(self, packet: Packet[Any]) -> Iterator[VideoFrame]:
        """The intact frames that a packet completes."""
        # Cut with its connection or its file; in a transport stream a gap, and in one that is
        # joined from several files that gap loses nothing.
        if packet.is_corrupt and not self._is_joined:
            self._lose()
            self._safe = set(self._sent)
            return
        if packet.pts is not None and not packet.is_discard:
            self._sent.add(packet.pts)
        for frame in self._decoded(packet):
            if self._is_intact(frame):
                yield from self._deinterlaced(frame)
        if packet.size == 0 and packet.dts is None:  # PyAV's sign of the end
            yield from self._rest()
            self.damaged += self._missing(self._sent) if self._started else 0
            self._sent = set()

    def _decoded(self, packet: Packet[Any]) -> list[VideoFrame]:
        """The frames that a packet completes, concealed ones too."""
        if self._early is not None:
            self._early.append(packet)
        self._times.append(packet.pts)
        try:
            frames = self._codec.decode(packet)
        except av.error.FFmpegError:
            self._refusals += 1
            if self._early is not None and self._refusals == _MOST_REFUSED:
                return self._decoded_without_refusal(self._early)
            # Its frame may come all the same. Each thread makes an answer come one packet later.
            place = max(1, self._codec.thread_count)
            if self._is_late and len(self._times) >= place:
                self._refused.add(self._times[-place])
            # What is lost silently is counted where it is missing.
            is_counted = self._loses_silently and (packet.pts is not None or not packet.size)
            self._lose(0 if is_counted else 1)
            # What follows a key picture that was refused is predicted from nothing.
            self.hurt |= self._early is not None
            return []
        if any(frame.key_frame for frame in frames):
            self._early = None
        return frames

    def _decoded_without_refusal(self, early: deque[Packet[Any]]) -> list[VideoFrame]:
        self._early, self._refused = None, set()
        self.damaged, self.decoded, self.hurt = 0, 0, False
        extradata, name = self._codec.extradata, self._codec.name
        self._codec = cast(VideoCodecContext, CodecContext.create(name, "r"))
        self._codec.extradata = extradata
        _set_threads(self._codec, self._threads)
        frames: list[VideoFrame] = []
        for packet in early:
            with suppress(av.error.FFmpegError):
                frames += self._codec.decode(packet)
        return frames

    def pixel_aspect(self, frame: VideoFrame) -> float:
        """Width of a pixel by its height, of a frame as `FrameConverter` gives it."""
        ratio = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        aspect = float(ratio) if ratio and _LEAST_ASPECT <= ratio <= 1 / _LEAST_ASPECT else 1.0
        return 1 / aspect if frame.rotation % 180 else aspect

    def _deinterlaced(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """The frame, or the one before: fields are joined with a look at both neighbours."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._fields is not None and self._fields[0] != kind:
            yield from self._rest()
        if self._fields is None and not frame.interlaced_frame:
            yield frame
            return
        if self._fields is None:
            fields = ("bwdif", "mode=send_frame:deint=interlaced")
            self._fields = kind, _filters(frame, fields)
            if self._name not in _interlaced:
                _interlaced.add(self._name)
                log.warning("%s: interlaced; its fields are joined to frames (bwdif)", self._name)
        self._fields[1].push(frame)
        self.held += 1
        yield from self._pulled()

    def _pulled(self) -> Iterator[VideoFrame]:
        while self._fields is not None:
            try:
                frame = cast(VideoFrame, self._fields[1].pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self.held -= 1
            yield frame

    def _rest(self) -> Iterator[VideoFrame]:
        """The frame that is held, as no other comes."""
        if self._fields is not None:
            self._fields[1].push(None)
            yield from self._pulled()
            self._fields, self.held = None, 0

    def _lose(self, count: int = 1) -> None:
        # Before the first frame there is nothing to damage: a stream was joined in the middle.
        if self._started:
            self.hurt, self._safe = True, set()
            self.damaged += count

    def _is_intact(self, frame: VideoFrame) -> bool:
        self._started = True
        self.decoded += 1
        silently_lost = self._update_sent(frame.pts)
        is_corrupt = frame.is_corrupt or (frame.pts is not None and frame.pts in self._refused)
        if is_corrupt:
            self.hurt, self._safe = True, set()
        elif frame.pts in self._safe:  # it was decoded before the damage
            return True
        elif silently_lost:
            self._lose(silently_lost)
        now_s = time.monotonic() if self._live or frame.time is None else frame.time
        if self.hurt and self._hurt_since_s is None:
            self._hurt_since_s = now_s
        healed = self._hurt_since_s is None or now_s - self._hurt_since_s > HEAL_S
        if not is_corrupt and (frame.key_frame or healed):
            self.hurt, self._hurt_since_s = False, None
        self.damaged += self.hurt
        return not self.hurt

    def _update_sent(self, pts: int | None) -> int:
        """How many frames before this one the decoder lost without an error, as it does of AV1 and
        HEVC."""
        if pts is None:
            return 0
        if self._first is None:
            self._first = pts
        if self._is_late and not self._live:  # frames may come out of order; the end will tell
            self._sent.discard(pts)
            return 0
        before = {sent for sent in self._sent if sent < pts}
        self._sent -= before | {pts}
        return 0 if self._is_late else self._missing(before)

    def _missing(self, sent: set[int]) -> int:
        """How many of these packets were lost; those before the first frame cannot be decoded."""
        first = self._first
        if not self._loses_silently or first is None:
            return 0
        return sum(at > first for at in sent)


def _set_threads(codec: Any, threads: int) -> None:
    codec.thread_count = threads
    if threads != 1:
        codec.thread_type = "AUTO"


def _filters(frame: VideoFrame, *filters: tuple[str, str]) -> Graph:
    """A chain of FFmpeg's filters, names and options, for frames like this one."""
    graph = Graph()
    base = frame.time_base or Fraction(1, 90_000)
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=base
    )
    chain = [graph.add(*each) for each in filters]
    graph.link_nodes(source, *chain, graph.add("buffersink")).configure()
    return graph


def _longest(container: InputContainer, name: str) -> VideoStream:
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        found = "only a cover picture" if container.streams.video else "no video track"
        raise CodecError(f"{name}: expected video, found {found}.")
    return max(films, key=lambda stream: _seconds(stream) or 0.0)


def _seconds(stream: VideoStream) -> float | None:
    try:  # Matroska has it in a tag: 00:00:01.960000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        if stream.duration is None or stream.time_base is None:
            return None
        return float(stream.duration * stream.time_base)


class FrameConverter:
    """Makes BGR of decoded frames: upright, HDR in the tones of BT.709, transparency over white.

    One for all frames of a track. May be used by any thread.
    """

    def __init__(self) -> None:
        # Each new one works out its tables again, and has threads that last as long as its frame.
        self._reformatter = VideoReformatter()
        self._to_bt709: tuple[tuple[int, int, str], Graph] | None = None
        self._busy = threading.Lock()

    def image(self, frame: VideoFrame) -> Image:
        """The picture, uint8 [H, W, 3] BGR, contiguous.

        Raises:
            CodecError: its pixels are of a kind that cannot be converted.
        """
        try:
            with self._busy:
                image = self._to_bgr(frame)
        except av.error.FFmpegError:
            kind = frame.format.name
            raise CodecError(f"pixels of the kind {kind} cannot be converted to BGR.") from None
        turns = frame.rotation // 90
        return np.ascontiguousarray(np.rot90(image, turns) if turns else image)

    def _to_bgr(self, frame: VideoFrame) -> Image:
        if any(component.is_alpha for component in frame.format.components):
            bgra = self._reformatter.reformat(frame, format="bgra", threads=1).to_ndarray()
            alpha = bgra[..., 3:].astype(np.float32) / 255
            return (bgra[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
        wide = frame.color_primaries in _WIDE_PRIMARIES
        if not wide and frame.color_trc not in _HDR_TRANSFERS:
            converted = self._reformatter.reformat(
                frame, format="bgr24", interpolation="BICUBIC", threads=1
            )
            return cast(Image, converted.to_ndarray())
        kind = (frame.width, frame.height, frame.format.name)
        if self._to_bt709 is None or self._to_bt709[0] != kind:
            self._to_bt709 = kind, _filters(frame, ("scale", _TO_BT709), ("format", "bgr24"))
        self._to_bt709[1].push(frame)
        return cast(Image, cast(VideoFrame, self._to_bt709[1].pull()).to_ndarray())
