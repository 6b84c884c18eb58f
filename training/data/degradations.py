"""What happens to pictures on their way to a detector, done to both classes alike.

All take and give uint8 [H, W, 3] BGR and keep the size.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Literal

import numpy as np
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from PIL import Image as PillowImage

from edge.types import Image

Chroma = Literal["4:2:0", "4:4:4"]
Degradation = Callable[[Image], Image]

STRONG_QUALITY = (40, 95)
WEAK_QUALITY = (95, 100)
WEAK_SHARE = 0.25
"""Share of the training samples that are compressed only weakly, inclusive bounds as above."""

FIRST_QUALITY = (75, 98)
STILL_FRAMES = 8
_PIXELS = "bgr24"


def jpeg(image: Image, quality: int, chroma: Chroma = "4:2:0") -> Image:
    """Compress as JPEG and decode again.

    Args:
        image: uint8 [H, W, 3] BGR.
        quality: 1..100 on libjpeg's scale.
        chroma: whether colour is halved in both directions.
    """
    encoded = io.BytesIO()
    picture = PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    picture.save(encoded, "JPEG", quality=quality, subsampling=chroma)
    with PillowImage.open(encoded) as decoded:
        return np.ascontiguousarray(np.asarray(decoded)[:, :, ::-1])


def random_jpeg(image: Image, rng: np.random.Generator) -> Image:
    """Compress as a training sample is: quality 95–100 for a quarter of them, 40–95 for the rest.

    A weak share, because a detector that never saw clean pictures fails on them.
    """
    low, high = WEAK_QUALITY if rng.random() < WEAK_SHARE else STRONG_QUALITY
    return _random_jpeg(image, rng, low, high)


def first_jpeg(image: Image, rng: np.random.Generator) -> Image:
    """Give a picture from a lossless file the first compression that most photographs have had.

    Its 8×8 grid falls anywhere, as that of a cropped photograph does.
    """
    top, left = (int(n) for n in rng.integers(0, 8, 2))
    padded = np.pad(image, ((top, 8 - top), (left, 8 - left), (0, 0)), mode="reflect")
    done = _random_jpeg(padded, rng, *FIRST_QUALITY)
    return done[top : top + image.shape[0], left : left + image.shape[1]]


def h264(image: Image, crf: int = 23) -> Image:
    """Encode the picture as a still H.264 clip and take its last predicted frame.

    4:2:0, limited range; an odd last row or column is repeated before and cut off after.

    Args:
        image: uint8 [H, W, 3] BGR.
        crf: x264's constant rate factor; 23 is its default, lower is better.
    """
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    decoded = _through_codec(np.ascontiguousarray(even), crf)
    predicted = [frame for frame in decoded if frame.pict_type == PictureType.P]
    return np.ascontiguousarray(predicted[-1].to_ndarray(format=_PIXELS)[:height, :width])


def _random_jpeg(image: Image, rng: np.random.Generator, low: int, high: int) -> Image:
    chroma: Chroma = "4:2:0" if rng.random() < 0.5 else "4:4:4"
    return jpeg(image, int(rng.integers(low, high, endpoint=True)), chroma)


def _through_codec(image: Image, crf: int) -> list[VideoFrame]:
    encoder = _encoder(image.shape[0], image.shape[1], crf)
    packets = []
    for index in range(STILL_FRAMES):
        frame = VideoFrame.from_ndarray(image, format=_PIXELS)
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    return [f for packet in [*packets, None] for f in decoder.decode(packet)]


def _encoder(height: int, width: int, crf: int) -> VideoCodecContext:
    encoder = CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": "medium"}
    return encoder


UNTOUCHED = "untouched"
JPEG_90 = "JPEG 90"
JPEG_75 = "JPEG 75"
H264_23 = "H.264 CRF 23"

COLUMNS: MappingProxyType[str, Degradation] = MappingProxyType(
    {
        UNTOUCHED: lambda image: image,
        JPEG_90: partial(jpeg, quality=90),
        JPEG_75: partial(jpeg, quality=75),
        H264_23: partial(h264, crf=23),
    }
)
"""The degradations under which a detector is reported, by the name that a report uses."""
