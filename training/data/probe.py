"""What one file holds: decoded once, in full, so that training meets no bad one."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage

from edge.errors import MissingDependency, SourceError
from edge.sources.images import read_image
from edge.types import Image

MOST_SIDE = 30_000
"""Pixels on a side; beyond, a file is refused before it is decoded."""

MOST_PIXELS = 120_000_000
"""Of a whole picture; the largest sensors of cameras have about 100 million."""

PLAIN, ANIMATED, CMYK, DEEP = range(4)
NOTES = (
    "",
    "animated (the first picture is used)",
    "CMYK (converted)",
    "16 bit (the upper 8 are kept)",
)
"""What is odd about a file that can be used all the same, at the place of its number."""

_LARGE_PIXELS = 20_000_000
_one_large_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Probed:
    """What is known of one file.

    `width` and `height` are as a person sees it, 0 if unknown; `format` is Pillow's, by content;
    `note` is a place in `NOTES`; `fault` follows the path, and is "" for a sound file; `phash`
    has 8 bytes.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    note: int = PLAIN
    fault: str = ""
    phash: bytes | None = None


def probe(path: str, hashed: bool) -> Probed:
    """Decode a file whole, unless its header already says that it is too large.

    Of large pictures one is decoded at a time, so that many threads do not take the memory of many.
    Warnings are Pillow's about odd metadata; whoever calls this from threads silences them around.

    Raises:
        OSError: the file cannot be read, which may pass, as opposed to a fault of its content.
    """
    with open(path, "rb"):
        header = _header(path)
    if max(header.width, header.height) > MOST_SIDE or header.width * header.height > MOST_PIXELS:
        return Probed(
            header.width,
            header.height,
            header.format,
            fault=f"{header.width}×{header.height} pixels, larger than {MOST_SIDE} on a side or "
            f"{MOST_PIXELS // 1_000_000} million in all. Crop or shrink it.",
        )
    large = header.width * header.height > _LARGE_PIXELS
    with _one_large_at_a_time if large else nullcontext():
        return _decoded(path, header, hashed)


def perceptual_hash(image: Image) -> bytes:
    """The 64 bits of pHash, from the low frequencies of uint8 [H, W, 3] BGR shrunk to 32×32.

    As the library imagehash computes it, after C. Zauner, Implementation and Benchmarking of
    Perceptual Image Hash Functions (2010).
    """
    try:
        import imagehash
    except ImportError as error:
        raise MissingDependency(
            "imagehash", "find pictures that match", "pip install 'patchwatch[train]'"
        ) from error
    bits = imagehash.phash(PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))).hash
    return np.packbits(bits).tobytes()


def _header(path: str) -> Probed:
    try:
        with PillowImage.open(path) as image:
            return Probed(*image.size, image.format or "", _note(image))
    except Exception:  # damaged, on which Pillow raises nearly anything; decoding says why
        return Probed()


def _note(image: PillowImage.Image) -> int:
    # Of these alone: a phone's MPO holds several pictures too, and is no animation.
    if image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False):
        return ANIMATED
    if image.mode == "CMYK":
        return CMYK
    # A colour PNG of 16 bits shows it only in how its pixels will be unpacked.
    unpacked = str(getattr(image, "tile", ""))
    return DEEP if image.mode.startswith("I") or ";16" in unpacked else PLAIN


def _decoded(path: str, header: Probed, hashed: bool) -> Probed:
    try:
        image = read_image(path)
    except SourceError as error:
        fault = str(error).removeprefix(f"{os.fspath(path)}: ")
        return Probed(header.width, header.height, header.format, header.note, fault)
    phash = perceptual_hash(image) if hashed else None
    height, width = image.shape[:2]
    return Probed(width, height, header.format, header.note, "", phash)
