"""Pictures from files, read with Pillow as every viewer shows them, and never half of one.

What is not pixels cannot cost a picture: of a PNG only the chunks that draw it are unpacked, as
generators write megabytes of text beside them. Pillow reads half a JPEG in silence where an end
marker follows; so libjpeg's own warnings are asked for first, of the picture at an eighth.
"""

from __future__ import annotations

import glob
import io
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import simplejpeg
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from edge.errors import SourceError
from edge.sources.containers import LOOKED_AT, foreign, is_cut
from edge.types import Image

T = TypeVar("T")

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
_FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "PPM",
    "JPEG2000",
    "AVIF",
    "HEIF",
)

_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"mif1", b"msf1")

_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}
"""Pillow's modes that it converts to RGB without a choice of range or colour space."""

_WITH_ALPHA = {"LA", "PA", "RGBA", "RGBa"}

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")
_PAGE_S, _USUAL_S, _SHORTEST_S = 1.0, 0.1, 0.01
"""How long a page of a TIFF is shown, and a picture whose time is shorter than browsers take."""

_MOST_BYTES = 1 << 30

JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_MOST_PADDING = 64
"""Bytes between the pixels and the end marker of a JPEG that some cameras write; more are what is
left of pixels after damage."""
_PNG_DRAWS = {b"tRNS", b"gAMA", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
"""Chunks beside the critical ones that a picture or an animation is made of."""
_WARNINGS_LOCK = threading.Lock()


def readable_suffixes() -> list[str]:
    """Of `IMAGE_SUFFIXES` those that can be read with what is installed."""
    known = PillowImage.registered_extensions()
    return sorted(suffix for suffix in IMAGE_SUFFIXES if known.get(suffix) in PillowImage.OPEN)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file is taken for a picture, by its name."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def missing(path: str | os.PathLike[str]) -> str:
    """Why nothing is at a path."""
    if os.path.islink(path):
        return f"it is a link that leads nowhere (to {os.readlink(path)})"
    return "no file matches this pattern" if glob.has_magic(os.fspath(path)) else "no such file"


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
    signed = head.startswith((JPEG, _PNG, b"GIF8", b"II*\0", b"MM\0*")) or (
        head[:4] == b"RIFF" and head[8:] == b"WEBP"
    )
    return signed or is_image(path)


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a picture as a person sees it; the first of an animation.

    Grey becomes three equal channels, 16 bits keep their upper 8, what is transparent shows white,
    as in a browser, EXIF orientation is applied. Colour profiles are not.

    Returns:
        uint8, [H, W, 3], BGR.

    Raises:
        SourceError: missing, empty, truncated, damaged, too large, or not a picture.
    """
    with closing(read_animation(path)) as pictures:
        return next(pictures)[0]


def read_animation(
    path: str | os.PathLike[str],
) -> Generator[tuple[Image, float], None, None]:
    """Every picture of a file, as `read_image` gives the first, and its seconds on the screen.

    Those of GIF, WebP, APNG and AVIF, and the pages of a TIFF (a second each). The smaller copies
    in a TIFF, and the further pictures of a JPEG (depth, gain, a second eye), are left out.

    Raises:
        SourceError: as `read_image`.
    """
    name = os.fspath(path)
    try:
        # Waiting for somebody to write into a pipe that lies among pictures would last for ever.
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise SourceError(f"{name}: is no file but a pipe, a socket or a device.")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise SourceError(f"{name}: the file is empty (0 bytes).")
            if size > _MOST_BYTES:
                raise SourceError(
                    f"{name}: has {size >> 20} MB, more than any picture. Crop or shrink it."
                )
            image = _in_words(file, name, lambda: _opened(file))
            for index in range(_count(image)):
                shown = _in_words(file, name, partial(_shown, image, index))
                if shown is not None:
                    rgb = np.asarray(_to_rgb(shown, name))
                    yield np.ascontiguousarray(rgb[:, :, ::-1]), _seconds(image)
    except FileNotFoundError as error:
        raise SourceError(f"{name}: cannot be read ({missing(path)}).") from error
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror or error}).") from error


def count_pictures(path: str | os.PathLike[str]) -> int:
    """How many pictures an animation has; 1 for any other file, and for what cannot be read."""
    try:
        with open(path, "rb") as file, _without_warnings():
            return _count(PillowImage.open(file, formats=_known_formats()))
    except Exception:  # on damaged bytes Pillow's decoders raise nearly anything
        return 1


def _count(image: PillowImage.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1


def _seconds(image: PillowImage.Image) -> float:
    if image.format == "TIFF":
        return _PAGE_S
    try:
        seconds = float(image.info.get("duration", 0)) / 1e3
    except (TypeError, ValueError):
        seconds = 0.0
    return seconds if seconds > _SHORTEST_S else _USUAL_S


def _in_words(file: BinaryIO, name: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except PillowImage.DecompressionBombError as error:
        most = round(2 * (PillowImage.MAX_IMAGE_PIXELS or 0) / 1e6)  # Pillow's own bound
        raise SourceError(
            f"{name}: has more than {most} million pixels. Crop or shrink it."
        ) from error
    except UnidentifiedImageError as error:
        raise SourceError(f"{name}: {_why_unknown(file, name)}") from error
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise SourceError(f"{name}: the picture is truncated or damaged ({error}).") from error


def _why_unknown(file: BinaryIO, name: str) -> str:
    file.seek(0)
    head = file.read(LOOKED_AT)
    if (what := foreign(head)) is not None:
        return f"{what}."
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return (
            "HEIC is read only where pillow-heif is installed. Run: pip install pillow-heif; or "
            "convert the picture to JPEG or PNG."
        )
    if is_cut(Path(name)):
        return "the picture is truncated: the file is shorter than it says. Copy it again."
    return (
        "not a picture that can be decoded. Expected JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, "
        "JPEG 2000 or AVIF."
    )


def _opened(file: BinaryIO) -> PillowImage.Image:
    data: BinaryIO = file
    head = file.read(8)
    file.seek(0)
    if head == _PNG:
        data = io.BytesIO(b"".join(_drawing_chunks(file)))
    elif head.startswith(JPEG):
        # A file that lacks only its end marker has all its pixels.
        data = io.BytesIO(file.read() + _JPEG_END)
    with _without_warnings():
        image: PillowImage.Image = PillowImage.open(data, formats=_known_formats())
    if isinstance(data, io.BytesIO) and head.startswith(JPEG):
        _refuse_damaged_jpeg(data)
    return image


def _shown(image: PillowImage.Image, index: int) -> PillowImage.Image | None:
    """The picture of an index, upright; None for one that is not shown by itself."""
    if index:
        image.seek(index)
    is_copy = index and image.format == "TIFF" and getattr(image, "tag_v2", {}).get(254, 0) & 1
    if is_copy or (not index and getattr(image, "default_image", False)):
        return None
    image.load()
    shown = image.copy() if _count(image) > 1 else image
    # On damaged metadata Pillow raises nearly anything.
    with _without_warnings(), suppress(Exception):
        ImageOps.exif_transpose(shown, in_place=True)
    return shown


def _drawing_chunks(file: BinaryIO) -> Iterator[bytes]:
    """A PNG without the chunks that draw nothing, and without those whose checksum is wrong.

    Raises:
        ValueError: the checksum of a critical chunk is wrong.
    """
    yield file.read(len(_PNG))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        critical = not kind[0] & 0x20
        if not critical and kind not in _PNG_DRAWS:
            file.seek(length + 4, os.SEEK_CUR)
            continue
        body = file.read(length + 4)
        whole = len(body) == length + 4
        intact = whole and zlib.crc32(kind + body[:-4]) == int.from_bytes(body[-4:], "big")
        if critical and whole and not intact:
            raise ValueError(f"wrong checksum in its {kind.decode('latin-1')} chunk")
        if critical or intact:
            yield head + body
        if kind == b"IEND":
            return


def _refuse_damaged_jpeg(data: io.BytesIO) -> None:
    try:
        simplejpeg.decode_jpeg(
            data.getbuffer(), "GRAY", min_height=1, min_width=1, min_factor=1, strict=True
        )
    except ValueError as error:  # also of kinds that it does not know, which are left to Pillow
        padding = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(error))
        harmless = padding is not None and int(padding[1]) <= _MOST_PADDING
        if str(error).startswith(("Corrupt", "Premature")) and not harmless:
            raise


@cache
def _known_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with; it refuses names that it lacks."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
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
        grey, clear = np.asarray(image), image.info.get("transparency")
        if grey.min() >= 0 and grey.max() <= 0xFFFF:
            image = PillowImage.fromarray(np.where(grey == clear, 255, grey >> 8).astype(np.uint8))
    if image.mode not in _CONVERTIBLE:
        raise SourceError(
            f"{name}: expected pixels of 8 or 16 bits in grey, colour, CMYK or a palette, found "
            f"Pillow's mode {image.mode}. Convert the picture."
        )
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = PillowImage.new("RGBA", rgba.size, "white")
        return PillowImage.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
