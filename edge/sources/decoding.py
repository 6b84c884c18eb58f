"""Video through PyAV: which track of a container, its intact frames, and their conversion to BGR.

A damaged frame is no evidence: where a decoder conceals what was lost, the concealment looks like a
manipulation, and so does everything predicted from it. Frames are skipped from the first damage to
the next one that needs no other. Of H.264, MPEG-4 and AV1 the decoder reports most damage, of HEVC
and JPEG hardly any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import numpy as np

from edge.errors import CodecError, MissingDependency
from edge.types import Image

try:
    import av
    from av.container import InputContainer
    from av.filter import Graph
    from av.packet import Packet
    from av.stream import Disposition
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream
except ImportError as missing:
    raise MissingDependency("PyAV", "read videos and streams", "pip install av") from missing

# FFmpeg's own lines may hold an address with its password.
if av.logging.get_level() is not None:
    av.logging.set_level(av.logging.PANIC)

HEAL_S = 10.0
"""After damage, how long a frame that needs no other is waited for. Cameras send one every few
seconds; streams that never do renew their picture part by part in less."""

_HIGHEST_FPS = 1000.0
_HDR_TRANSFERS = (16, 18)  # ITU-T H.273: PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)
_WIDE_PRIMARIES = (9, 11, 12)  # ITU-T H.273: BT.2020, and P3 with either white
_TO_BT709 = "out_primaries=bt709:out_transfer=bt709:flags=bicubic"
"""Options of FFmpeg's `scale`, with which it converts gamut and maps HDR tones."""


def open_container(
    address: str, options: dict[str, str], limits: Any = None
) -> InputContainer | int:
    """What was opened, or FFmpeg's error number."""
    try:
        return av.open(address, options=options, timeout=limits, metadata_errors="replace")
    except av.error.FFmpegError as error:
        # Only the number: the error holds the address with its password, and so would any that is
        # raised from here.
        return error.errno or 0


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
        hurt: whether damage has not healed yet.
    """

    def __init__(
        self, container: InputContainer, name: str, threads: int, live: bool = True
    ) -> None:
        self.stream = _longest(container, name)
        self.seconds = _seconds(self.stream)
        codec = self.stream.codec_context
        if codec is None:
            raise CodecError(f"{name}: its video codec cannot be decoded here. Use H.264 instead.")
        codec.thread_count = threads
        if threads != 1:
            codec.thread_type = "AUTO"
        rate: Fraction | None = self.stream.average_rate or codec.framerate
        self.fps = float(rate) if rate and 0 < rate <= _HIGHEST_FPS else None
        self.damaged = 0
        self.decoded = 0
        self._live = live
        self._is_joined = not live and container.format.name == "mpegts"
        self._loses_silently = codec.name == "libdav1d"
        self._sent: set[int] = set()  # times of packets whose frames have not come yet
        self._safe: set[int] = set()  # of these, those decoded before the present damage
        self._started = False
        self.hurt = False
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
        try:
            frames = self.stream.decode(packet)
        except av.error.FFmpegError:
            self._lose()
            return
        for frame in frames:
            if self._is_intact(frame):
                yield frame

    def _lose(self, count: int = 1) -> None:
        # Before the first frame there is nothing to damage: a stream was joined in the middle.
        if self._started:
            self.hurt, self._safe = True, set()
            self.damaged += count

    def _is_intact(self, frame: VideoFrame) -> bool:
        self._started = True
        self.decoded += 1
        silently_lost = self._update_sent(frame.pts)
        if frame.is_corrupt:
            self.hurt, self._safe = True, set()
        elif frame.pts in self._safe:  # it was decoded before the damage
            return True
        elif silently_lost:
            self._lose(silently_lost)
        now_s = time.monotonic() if self._live or frame.time is None else frame.time
        if self.hurt and self._hurt_since_s is None:
            self._hurt_since_s = now_s
        healed = self._hurt_since_s is None or now_s - self._hurt_since_s > HEAL_S
        if not frame.is_corrupt and (frame.key_frame or healed):
            self.hurt, self._hurt_since_s = False, None
        self.damaged += self.hurt
        return not self.hurt

    def _update_sent(self, pts: int | None) -> int:
        """How many frames before this one the decoder lost without an error, as it does of AV1."""
        if pts is None:
            return 0
        before = {sent for sent in self._sent if sent < pts}
        self._sent -= before | {pts}
        return len(before) if self._loses_silently else 0


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
    """Makes BGR of decoded frames: upright as their file says, HDR mapped to the tones of BT.709.

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
                converted = self._to_bgr(frame)
        except av.error.FFmpegError:
            kind = frame.format.name
            raise CodecError(f"pixels of the kind {kind} cannot be converted to BGR.") from None
        image = cast(Image, converted.to_ndarray())
        turns = frame.rotation // 90
        return np.ascontiguousarray(np.rot90(image, turns) if turns else image)

    def _to_bgr(self, frame: VideoFrame) -> VideoFrame:
        wide = frame.color_primaries in _WIDE_PRIMARIES
        if not wide and frame.color_trc not in _HDR_TRANSFERS:
            return self._reformatter.reformat(
                frame, format="bgr24", interpolation="BICUBIC", threads=1
            )
        kind = (frame.width, frame.height, frame.format.name)
        if self._to_bt709 is None or self._to_bt709[0] != kind:
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 90_000),
            )
            scale, to_bgr = graph.add("scale", _TO_BT709), graph.add("format", "bgr24")
            graph.link_nodes(source, scale, to_bgr, graph.add("buffersink")).configure()
            self._to_bt709 = kind, graph
        self._to_bt709[1].push(frame)
        return cast(VideoFrame, self._to_bt709[1].pull())
