"""What holds of every kind of film: containers, codecs, pixel formats and sizes, whole and damaged.

The kinds are those that PyAV encodes here. A few, drawn with a fixed seed, are tried each time, all
of them where slow tests are.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from edge.errors import SourceError
from edge.sources import open_recording
from edge.types import Image
from tests.edge.sources.clips import encode

FRAMES = 12
FEW = 28
CONTAINERS = {
    "mp4": ("libx264", "libx265", "mpeg4", "mjpeg", "libaom-av1", "libsvtav1", "libvpx-vp9"),
    "mov": ("libx264", "mjpeg", "prores_ks", "png", "qtrle", "mpeg4"),
    "mkv": ("libx264", "libx265", "libaom-av1", "libvpx", "ffv1", "mjpeg", "mpeg2video"),
    "webm": ("libvpx", "libvpx-vp9", "libaom-av1"),
    "avi": ("mpeg4", "mjpeg", "huffyuv", "ffv1", "libx264", "rawvideo"),
    "ts": ("libx264", "libx265", "mpeg2video"),
    "mpg": ("mpeg2video", "mpeg1video"),
    "flv": ("libx264", "flv"),
    "h264": ("libx264",),
    "hevc": ("libx265",),
    "mjpeg": ("mjpeg",),
}
PIXELS = (
    *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuvj420p", "yuvj444p"),
    *("gray", "gray10le", "rgb24", "bgr24", "gbrp", "rgba", "bgra", "yuva420p", "pal8"),
)
SIZES_WH = ((64, 48), (128, 34), (50, 98), (97, 61), (352, 288))
# Encoders name these formats, and refuse them.
REFUSED = {("mjpeg", "yuv420p"), ("mjpeg", "yuv422p"), ("mjpeg", "yuv444p"), ("png", "pal8")}
REFUSED |= {("libx265", "yuva420p"), ("libvpx", "yuva420p")}
CODING = {"libx265": {"x265-params": "log-level=none:keyint=5"}, "libsvtav1": {"preset": "10"}}
CODING |= {"libaom-av1": {"cpu-used": "8", "g": "5"}, "libx264": {"g": "5", "preset": "ultrafast"}}


@dataclass(frozen=True)
class Kind:
    container: str
    codec: str
    pixels: str
    size_wh: tuple[int, int]
    coding: dict[str, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        width, height = self.size_wh
        return f"{self.container}-{self.codec}-{self.pixels}-{width}x{height}"


@cache
def formats(codec: str) -> set[str]:
    """The pixel formats that an encoder takes; none where it is absent."""
    try:
        found = av.Codec(codec, "w")
    except ValueError:  # UnknownCodecError
        return set()
    return {kind.name for kind in found.video_formats or ()}


def can_be_made(codec: str, pixels: str, size_wh: tuple[int, int]) -> bool:
    """Whether an encoder takes such pictures."""
    width, height = size_wh
    halved = codec in ("libx264", "libx265") and ("420" in pixels or "422" in pixels)
    if (halved and (width % 2 or height % 2)) or (codec == "qtrle" and width % 4):
        return False
    return pixels in formats(codec) and (codec, pixels) not in REFUSED


def kinds() -> list[Kind]:
    """All, in an order that is random and always the same."""
    every = [
        Kind(container, codec, pixels, size, CODING.get(codec, {"g": "5"}))
        for container, codecs in CONTAINERS.items()
        for codec, pixels, size in itertools.product(codecs, PIXELS, SIZES_WH)
        if can_be_made(codec, pixels, size)
    ]
    random.Random(14).shuffle(every)
    # One of each pair of container and codec comes first.
    first = {(kind.container, kind.codec): kind for kind in reversed(every)}
    return [*first.values(), *(kind for kind in every if kind not in first.values())]


PARAMETERS = [
    pytest.param(kind, id=str(kind), marks=[pytest.mark.slow] * (index >= FEW))
    for index, kind in enumerate(kinds())
]


def film(path: Path, kind: Kind) -> Path:
    """A film of that kind; the test is skipped where it cannot be made."""
    width, height = kind.size_wh
    rng = np.random.default_rng(width)
    base = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    soft = np.kron(base, np.ones((8, 8, 1), np.uint8))

    def picture(index: int) -> Image:
        return np.roll(soft, index, axis=1)[:height, :width].copy()

    try:
        pictures = [picture(index) for index in range(FRAMES)]
        # With the index at the front, so that damage behind it is damage of pictures.
        muxing = {"movflags": "+faststart"} if kind.container in ("mp4", "mov") else {}
        coding = kind.coding
        return encode(
            path, pictures, codec=kind.codec, pixels=kind.pixels, coding=coding, muxing=muxing
        )
    except (av.error.FFmpegError, ValueError, OSError) as error:
        pytest.skip(f"cannot be made here: {type(error).__name__}")


def counted(path: Path) -> int | None:
    """How many frames ffprobe decodes; None without it, or where it finds no film."""
    tool = shutil.which("ffprobe")
    if tool is None:
        return None
    show = ["-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "json"]
    words = [tool, "-v", "quiet", "-count_frames", *show, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    streams = json.loads(done.stdout or "{}").get("streams") or [{}]
    return int(streams[0].get("nb_read_frames", 0))


def read(path: Path) -> tuple[list[Image], int, str | None]:
    """The frames, how many were passed over, and the sentence of what failed."""
    images: list[Image] = []
    source = open_recording(path)
    try:
        with source:
            images.extend(frame.image for frame in source)
    except SourceError as error:
        return images, source.damaged, str(error)
    return images, source.damaged, None


@pytest.mark.parametrize("kind", PARAMETERS)
def test_every_frame_of_every_kind_and_none_that_damage_reached(kind: Kind, tmp_path: Path) -> None:
    path = film(tmp_path / f"whole.{kind.container}", kind)
    images, passed, failed = read(path)
    assert (len(images), passed, failed) == (FRAMES, 0, None)
    assert counted(path) in (None, FRAMES)
    shape = (kind.size_wh[1], kind.size_wh[0], 3)
    assert {image.shape for image in images} == {shape}

    data, rng = path.read_bytes(), random.Random(str(kind))
    for how in ("flipped", "zeroed", "cut"):
        damaged = bytearray(data)
        at = rng.randrange(len(data) // 3, len(data) - 40)
        if how == "cut":
            del damaged[at:]
        else:
            for place in range(at, min(at + 24, len(data))):
                damaged[place] = 0 if how == "zeroed" else damaged[place] ^ rng.randrange(1, 256)
        hurt = tmp_path / f"{how}.{kind.container}"
        hurt.write_bytes(damaged)
        images, passed, failed = read(hurt)
        assert {image.shape for image in images} <= {shape}, how
        assert len(images) + passed <= FRAMES, (how, len(images), passed)
        if failed is not None:
            assert str(hurt) in failed and failed.endswith("."), how
        there = counted(hurt)
        # Without times nothing tells what a decoder of HEVC has left out in silence.
        if there is not None and failed is None and kind.container != "hevc":
            assert len(images) + passed >= there, (how, len(images), passed, there)
