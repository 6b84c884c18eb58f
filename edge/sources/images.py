"""Pictures from files, read with Pillow.

Pillow rather than OpenCV: it notices a truncated file, where many builds of OpenCV silently return
half a picture, and it handles CMYK, palettes and the orientation of every format. Of an intact JPEG
both give the same bytes; Pillow takes 1.5 times as long, which reading ahead hides.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from edge.errors import SourceError
from edge.types import Image

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".heic", ".heif",
))
"""Names that end so are taken for pictures; whether one can be decoded shows when it is read."""

VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts",
    ".wmv", ".flv", ".ogv", ".3gp", ".mjpeg", ".mjpg", ".h264", ".264", ".h265", ".265", ".hevc",
))
"""Names that end so are taken for videos."""
# fmt: on

# Pillow knows many more; some of them run other programs (EPS) or are no pictures of a camera.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")

_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"mif1", b"msf1")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")

_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}
"""Pillow's modes that it converts to RGB without a choice of range or colour space."""

_MOST_MEGAPIXELS = 179  # pillow's own bound against decompression bombs, for the message
_WARNINGS_LOCK = threading.Lock()


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_picture(path: Path) -> bool:
    """Whether a file is a picture and no video: by its name, unless its content contradicts it."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return is_image(path)
    if head[4:8] == b"ftyp":
        return head[8:12] in _STILL_BRANDS
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return False
    signed = head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
    return signed or is_image(path)


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a picture as a person sees it.

    Grey becomes three equal channels, 16 bits keep their upper 8, transparency is dropped, EXIF
    orientation is applied, animations give their first picture. Colour profiles are not applied.

    Returns:
        uint8, [H, W, 3], BGR.

    Raises:
        SourceError: missing, empty, truncated, damaged, too large, or not a picture.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _read(file, name)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror or error}).") from error


def _read(file: BinaryIO, name: str) -> Image:
    if not os.fstat(file.fileno()).st_size:
        raise SourceError(f"{name}: the file is empty (0 bytes).")
    try:
        image = _decode(file)
    except PillowImage.DecompressionBombError as error:
        raise SourceError(
            f"{name}: has more than {_MOST_MEGAPIXELS} million pixels. Crop or shrink it."
        ) from error
    except UnidentifiedImageError as error:
        raise SourceError(
            f"{name}: not a picture that can be decoded. Expected JPEG, PNG, WebP, GIF, BMP, TIFF, "
            "PPM, JPEG 2000 or AVIF."
        ) from error
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise SourceError(f"{name}: the picture is truncated or damaged ({error}).") from error
    return np.ascontiguousarray(np.asarray(_to_rgb(image, name))[:, :, ::-1])


def _decode(file: BinaryIO) -> PillowImage.Image:
    with _without_warnings():
        image: PillowImage.Image = PillowImage.open(file, formats=_known_formats())
    image.load()
    # On damaged metadata Pillow raises nearly anything.
    with _without_warnings(), suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with; it refuses names that it lacks."""
    PillowImage.init()
    return tuple(name for name in _FORMATS if name in PillowImage.OPEN)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence Pillow, which warns of odd metadata and of pictures above 89 million pixels.

    The list of filters belongs to the whole process, hence the lock.
    """
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _to_rgb(image: PillowImage.Image, name: str) -> PillowImage.Image:
    if image.mode.startswith("I"):
        # Pillow itself would cut 16 bits off at 255 instead of scaling them.
        grey = np.asarray(image)
        if grey.min() >= 0 and grey.max() <= 0xFFFF:
            image = PillowImage.fromarray((grey >> 8).astype(np.uint8))
    if image.mode not in _CONVERTIBLE:
        raise SourceError(
            f"{name}: expected pixels of 8 or 16 bits in grey, colour, CMYK or a palette, found "
            f"Pillow's mode {image.mode}. Convert the picture."
        )
    # A palette's transparency would only make the conversion warn.
    image.info.pop("transparency", None)
    return image if image.mode == "RGB" else image.convert("RGB")
