"""What one file holds: decoded once, in full, so that training meets no bad one."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from edge.errors import SourceError, require
from edge.sources.images import read_image
from edge.types import Image

MOST_SIDE = 30_000
"""Pixels on a side; beyond, a file is refused before it is decoded."""

MOST_PIXELS = 120_000_000
"""Of a whole picture; the largest sensors of cameras have about 100 million."""

_LARGE_PIXELS = 20_000_000
_one_large_at_a_time = threading.Lock()


class Probed(NamedTuple):
    """What is known of one file.

    `width` and `height` are 0 if unknown; `format` is Pillow's, by content; `note` says what is odd
    about a file that can be used all the same; `fault` follows the path, and is "" for a sound
    file; `phash` is the perceptual hash, 64 bits, where it was asked for.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    note: str = ""
    fault: str = ""
    phash: int | None = None


def probe(path: Path, hashed: bool) -> Probed:
    """Decode a file whole, unless its header already says that it is too large.

    Of large pictures one is decoded at a time, so that many threads do not take the memory of many.
    Warnings are Pillow's about odd metadata; whoever calls this from threads silences them around.

    Raises:
        OSError: the file cannot be read, which may pass, as opposed to a fault of its content.
    """
    if path.is_dir():
        return Probed(fault="the folder cannot be read. Check its permissions.")
    if path.exists() and not path.is_file():
        return Probed(fault="no regular file.")
    with path.open("rb"):
        header = _header(path)
    pixels = header.width * header.height
    if max(header.width, header.height) > MOST_SIDE or pixels > MOST_PIXELS:
        fault = (
            f"{header.width}×{header.height} pixels, larger than {MOST_SIDE} on a side or "
            f"{MOST_PIXELS // 1_000_000} million in all. Crop or shrink it."
        )
        return header._replace(fault=fault)
    with _one_large_at_a_time if pixels > _LARGE_PIXELS else nullcontext():
        try:
            image = read_image(path)
        except SourceError as error:
            return header._replace(fault=str(error).removeprefix(f"{path}: "))
        height, width = image.shape[:2]  # as a person sees it, turned by its metadata
        phash = perceptual_hash(image) if hashed else None
        return header._replace(width=width, height=height, phash=phash)


def perceptual_hash(image: Image) -> int:
    """The 64 bits of pHash, from the low frequencies of uint8 [H, W, 3] BGR shrunk to 32×32.

    As the library imagehash computes it, after C. Zauner, Implementation and Benchmarking of
    Perceptual Image Hash Functions (2010).
    """
    install = "pip install 'patchwatch[train]'"
    imagehash = require("imagehash", "find pictures that match", install)
    picture = PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    return int(str(imagehash.phash(picture)), 16)


def _header(path: Path) -> Probed:
    try:
        with PillowImage.open(path) as image:
            return Probed(*image.size, image.format or "", _note(image))
    except Exception:  # damaged, on which Pillow raises nearly anything; decoding says why
        return Probed()


def _note(image: PillowImage.Image) -> str:
    # Of these alone: a phone's MPO holds several pictures too, and is no animation.
    if image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False):
        return "animated (the first picture is used)"
    if image.mode == "CMYK":
        return "CMYK (converted)"
    # A colour PNG of 16 bits shows it only in how its pixels will be unpacked.
    deep = image.mode.startswith("I") or ";16" in str(getattr(image, "tile", ""))
    return "16 bit (the upper 8 are kept)" if deep else ""
