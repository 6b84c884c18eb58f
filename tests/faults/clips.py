"""Clips of one flat grey each, whose brightness tells which one a frame came from."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as PillowImage

FPS = 25


def flat_clip(
    path: Path,
    level: int,
    size_wh: tuple[int, int] = (160, 120),
    *,
    s: float = 2.0,
    fps: float = FPS,
) -> Path:
    """Write H.264 of one grey with a keyframe in each fifth of a second.

    Args:
        path: an mp4.
        level: grey, 0..255.
        size_wh: width and height in pixels, even.
        s: how long it is, in seconds.
        fps: frames per second.
    """
    rate = Fraction(fps).limit_denominator(1000)
    picture = av.VideoFrame.from_ndarray(_flat(level, size_wh), format="bgr24")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "g": str(max(1, round(fps / 5))),
            "preset": "ultrafast",
            "tune": "zerolatency",
        }
        for index in range(round(s * fps)):
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def flat_jpeg(level: int, size_wh: tuple[int, int] = (160, 120)) -> bytes:
    """A JPEG picture of one grey."""
    buffer = io.BytesIO()
    PillowImage.fromarray(_flat(level, size_wh)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _flat(level: int, size_wh: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)
