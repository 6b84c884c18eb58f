"""Degradations by video coding: short clips through real encoders, at a constant rate factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from edge.types import Image

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    Packets = list[Packet[VideoStream]]

VideoCodec = Literal["h264", "h265"]
Moves = Sequence[tuple[int, int]]

STILL_FRAMES = 8
_PIXELS = "bgr24"
_ENCODERS: MappingProxyType[VideoCodec, str] = MappingProxyType(
    {"h264": "libx264", "h265": "libx265"}
)
_DECODERS: MappingProxyType[VideoCodec, str] = MappingProxyType({"h264": "h264", "h265": "hevc"})
PARAMETERS: MappingProxyType[VideoCodec, tuple[str, str]] = MappingProxyType(
    {
        "h264": ("x264-params", "scenecut=0:keyint=infinite:cpu-independent=1"),
        "h265": (
            "x265-params",
            "scenecut=0:keyint=-1:pools=none:frame-threads=1:wpp=0:log-level=none",
        ),
    }
)
"""One key frame, so that every later frame is predicted; one thread, so that cores are ours."""

_SMALLEST = 64
"""x265 writes outside its memory where a side is shorter, for instance 40 or 48. A smaller picture
is repeated at its edge, and cut afterwards."""


def h264(image: Image, crf: int = 23) -> Image:
    """Encode uint8 [H, W, 3] BGR as a still H.264 clip and take its last predicted frame.

    4:2:0, limited range; an odd last row or column is repeated before and cut off after. `crf` is
    x264's constant rate factor; 23 is its default, lower is better.
    """
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    still = [np.ascontiguousarray(even)] * STILL_FRAMES
    packets = encode(still, "h264", {"crf": str(crf), "preset": "medium"})
    predicted = [f for f in decode(packets, "h264") if f.pict_type == PictureType.P]
    return np.ascontiguousarray(predicted[-1].to_ndarray(format=_PIXELS)[:height, :width])


def moving_clip(
    image: Image, codec: VideoCodec, crf: float, preset: str, moves: Moves, taken: int
) -> Image:
    """Encode windows that move over the picture as a clip, and take one predicted frame.

    `moves` are each frame's top and left in pixels, from 0; `taken` is the frame, from 1. The
    result is smaller than the picture by the largest number in moves; its top left pixel shows
    that of the picture at moves[taken].
    """
    reach = max(map(max, moves))
    height, width = image.shape[0] - reach, image.shape[1] - reach
    even = _padding(height), _padding(width), (0, 0)
    windows = [image[top : top + height, left : left + width] for top, left in moves]
    frames = [np.ascontiguousarray(np.pad(window, even, mode="edge")) for window in windows]
    name, parameters = PARAMETERS[codec]
    packets = encode(frames, codec, {"crf": str(crf), "preset": preset, name: parameters})
    shown = next(f for f in decode(packets, codec) if f.pts == taken)
    return np.ascontiguousarray(shown.to_ndarray(format=_PIXELS)[:height, :width])


def encode(frames: Sequence[Image], codec: VideoCodec, options: Mapping[str, str]) -> Packets:
    """Encode frames of one even size, uint8 [H, W, 3] BGR, at 25 a second, 4:2:0, on one thread."""
    encoder = CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = dict(options)
    packets = []
    for index, image in enumerate(frames):
        frame = VideoFrame.from_ndarray(image, format=_PIXELS)
        frame.pts = index
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def decode(packets: Packets, codec: VideoCodec) -> list[VideoFrame]:
    """The frames of a clip, in the order in which they are shown."""
    decoder = CodecContext.create(_DECODERS[codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    return [frame for packet in [*packets, None] for frame in decoder.decode(packet)]


def _padding(side: int) -> tuple[int, int]:
    return 0, max(_SMALLEST - side, side % 2)
