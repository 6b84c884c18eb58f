"""Clips and pictures made on the spot, whose frames tell which one they are."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image as PillowImage

from edge.types import Image
from tests.fakes import barred, wait_for

FPS = 30
DARKEST, STEP, SHADES = 30, 4, 50
"""Grey level of the first frame of a clip, from each to the next, and when they start over."""

CODING = {"g": "10", "crf": "10", "preset": "ultrafast"}
PROMPT = {"preset": "ultrafast", "tune": "zerolatency", "crf": "10"}
"""Options of x264; with the second no frame waits for a later one."""


def encode(
    path: Path,
    pictures: Iterable[Image],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: float = FPS,
    slots: Sequence[int] | None = None,
    coding: Mapping[str, str] = CODING,
    muxing: Mapping[str, str] | None = None,
    prepare: Callable[[Any], object] = lambda stream: None,
) -> Path:
    """Write a video of one track.

    Args:
        path: the suffix chooses the container.
        pictures: BGR, of one size; odd only with yuv444p.
        codec: encoder.
        pixels: coded pixel format.
        fps: frames per second.
        slots: frame numbers that are shown; all if None.
        coding: options of the encoder.
        muxing: options of the container.
        prepare: called with the stream before the first picture.
    """
    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(path), "w", options=dict(muxing or {})) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.pix_fmt, stream.options = pixels, dict(coding)
        for index, picture in enumerate(pictures):
            if not index:
                stream.height, stream.width = picture.shape[:2]
                prepare(stream)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pixels)
            frame.pts, frame.time_base = slots[index] if slots else index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_clip(
    path: Path,
    frames: int = 50,
    size_wh: tuple[int, int] = (96, 64),
    *,
    faststart: bool = False,
    gaps: Sequence[int] | None = None,
) -> Path:
    """Write H.264 whose frame i is `level(i)` in bars, with noise that keeps it from being tiny.

    With `faststart` the index comes before the pictures (mp4); `gaps` are the frame numbers of a
    clip at 30 per second that are shown.
    """
    pictures = (numbered_image(index, size_wh) for index in range(len(gaps) if gaps else frames))
    muxing = {"movflags": "+faststart"} if faststart else {}
    return encode(path, pictures, slots=gaps, muxing=muxing)


def flat_clip(
    path: Path,
    shade: int,
    size_wh: tuple[int, int] = (160, 120),
    *,
    s: float = 2.0,
    fps: float = 25,
) -> Path:
    """Write an mp4 of one grey, `s` seconds long, with a keyframe in each fifth of a second."""
    pictures = [barred(shade, size_wh[1], size_wh[0])] * round(s * fps)
    coding = {"g": str(max(1, round(fps / 5))), "preset": "ultrafast", "tune": "zerolatency"}
    return encode(path, pictures, fps=fps, coding=coding)


def level(index: int) -> int:
    """The grey level of frame `index`."""
    return DARKEST + STEP * (index % SHADES)


def number(image: Image) -> int:
    """Which frame of its first 50 a picture of a clip is."""
    # Conversion to YUV and back darkens a video by up to 3 levels, and a JPEG not at all.
    return int((float(image.mean()) - DARKEST + 3.4) // STEP)


def numbered_image(index: int, size_wh: tuple[int, int] = (96, 64)) -> Image:
    """Frame `index` of a clip, grey bars with noise."""
    noise = np.random.default_rng(index).integers(-8, 9, (size_wh[1], size_wh[0], 1))
    noise = noise - round(float(noise.mean()))
    bars = barred(level(index), size_wh[1], size_wh[0])
    return (bars + noise).clip(0, 255).astype(np.uint8)


def numbered(index: int, size_wh: tuple[int, int] = (96, 64)) -> av.VideoFrame:
    """The same for an encoder, with its time."""
    frame = av.VideoFrame.from_ndarray(numbered_image(index, size_wh), format="bgr24")
    frame.pts, frame.time_base = index, Fraction(1, FPS)
    return frame


def jpeg(index: int, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG picture that `number` reads as `index`."""
    return flat_jpeg(level(index), size_wh)


def flat_jpeg(shade: int, size_wh: tuple[int, int] = (160, 120)) -> bytes:
    """A JPEG picture of one grey."""
    buffer = io.BytesIO()
    PillowImage.fromarray(barred(shade, size_wh[1], size_wh[0])).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def open_files() -> set[str]:
    """What this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that the listing itself had open
            found.add(str(entry.readlink()))
    return found


@contextmanager
def nothing_left_behind(within_s: float = 0.0) -> Iterator[None]:
    """Check that no thread and no file stays for longer than this."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    wait_for(lambda: set(threading.enumerate()) <= threads and open_files() <= files, within_s)
