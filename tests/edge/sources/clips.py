"""Clips and pictures made on the spot, whose frames tell which one they are."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as PillowImage

from edge.types import Image

FPS = 30
DARKEST, STEP, SHADES = 30, 4, 50
"""Grey level of the first frame of a clip, from each to the next, and when they start over."""


def write_clip(
    path: Path,
    frames: int = 50,
    size_wh: tuple[int, int] = (96, 64),
    *,
    faststart: bool = False,
    gaps: Sequence[int] | None = None,
    pixels: str = "yuv420p",
) -> Path:
    """Write H.264 whose frame i is flat grey `level(i)`, with noise that keeps it from being tiny.

    Args:
        path: the suffix chooses the container.
        frames: how many.
        size_wh: width and height; odd only with yuv444p.
        faststart: write the index before the pictures (mp4).
        gaps: frame numbers of a clip at 30 per second that are shown; all if None.
        pixels: coded pixel format.
    """
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = size_wh
        stream.pix_fmt = pixels
        stream.options = {"g": "10", "crf": "10", "preset": "ultrafast"}
        for index, slot in enumerate(gaps if gaps is not None else range(frames)):
            picture = av.VideoFrame.from_ndarray(numbered_image(index, size_wh), format="bgr24")
            picture.pts, picture.time_base = slot, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def level(index: int) -> int:
    """The grey level of frame `index`."""
    return DARKEST + STEP * (index % SHADES)


def number(image: Image) -> int:
    """Which frame of its first 50 a picture of a clip is."""
    # Conversion to YUV and back darkens a video by up to 3 levels, and a JPEG not at all.
    return int((float(image.mean()) - DARKEST + 3.4) // STEP)


def numbered_image(index: int, size_wh: tuple[int, int]) -> Image:
    """Frame `index` of a clip, flat grey with noise."""
    noise = np.random.default_rng(index).integers(-8, 9, (size_wh[1], size_wh[0], 1))
    noise = noise - round(float(noise.mean()))
    return np.repeat((level(index) + noise).clip(0, 255), 3, axis=2).astype(np.uint8)


def jpeg(index: int, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    """A JPEG picture that `number` reads as `index`."""
    buffer = io.BytesIO()
    flat = np.full((size_wh[1], size_wh[0], 3), level(index), np.uint8)
    PillowImage.fromarray(flat).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def cut(path: Path, share: float) -> Path:
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def open_files() -> set[str]:
    """What this process has open, without the pipes and sockets of the test runner."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except OSError:  # the one that the listing itself had open
            continue
    return found


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Check that no thread and no file stays."""
    import threading

    threads, files = set(threading.enumerate()), open_files()
    yield
    assert set(threading.enumerate()) <= threads
    assert open_files() <= files


def wait_until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Return when it holds; fail if it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
