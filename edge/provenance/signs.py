"""Signs against what EXIF says: sizes, tables and small pictures that do not fit. Remarks only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from edge.provenance.blocks import Blocks
from edge.provenance.claims import Claim
from edge.provenance.exif import EXIF_HEIGHT, EXIF_WIDTH, MAKE, SOFTWARE, Exif

# fmt: off
_STANDARD = (
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37,
    29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
)
"""Brightness, of ITU T.81 table K.1, in zigzag order."""
# fmt: on

_SIDE = 32
_LEAST_LIKENESS = 0.6
"""Correlation below which two small pictures show different things."""


def remarks(blocks: Blocks, exif: Exif) -> Iterator[Claim]:
    """What does not fit the EXIF of a camera, from headers alone."""
    if not exif.texts.get(MAKE) or blocks.kind not in ("JPEG", "WebP", "PNG"):
        return
    said = exif.numbers.get(EXIF_HEIGHT, 0), exif.numbers.get(EXIF_WIDTH, 0)
    if blocks.size_hw and all(said) and sorted(said) != sorted(blocks.size_hw):
        height, width = blocks.size_hw
        yield _remark(
            f"EXIF says {said[1]}×{said[0]} pixels, the picture has {width}×{height}: it was "
            "resized or cropped, or the EXIF is of another"
        )
    quality = libjpeg_quality(blocks.tables.get(0, ()))
    if quality is not None and not exif.texts.get(SOFTWARE):
        yield _remark(
            f"its JPEG tables are libjpeg's at quality {quality}, as software and some telephones "
            "write them, and EXIF names a camera and no software"
        )


def thumbnail_remark(path: Path, exif: Exif) -> Claim | None:
    """Whether the small picture in EXIF shows another picture; this decodes both."""
    if not exif.thumbnail:
        return None
    with suppress(Exception):  # on damaged bytes Pillow's decoders raise nearly anything
        small, large = _grey(io.BytesIO(exif.thumbnail)), _grey(path)
        if small.std() > 4 and large.std() > 4 and _likeness(small, large) < _LEAST_LIKENESS:
            return _remark("the thumbnail in EXIF shows another picture")
    return None


def _remark(text: str) -> Claim:
    return Claim("remark", text, "EXIF", "observed")


def libjpeg_quality(table: tuple[int, ...]) -> int | None:
    """The quality at which libjpeg makes a table of brightness; None where it makes it at none."""
    return _libjpeg_tables().get(table)


@cache
def _libjpeg_tables() -> dict[tuple[int, ...], int]:
    """The tables of the qualities that are used, from 25 on."""
    tables = {}
    for quality in range(25, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        scaled = (min(max((value * scale + 50) // 100, 1), 255) for value in _STANDARD)
        tables[tuple(scaled)] = quality
    return tables


def _grey(file: Path | io.BytesIO) -> npt.NDArray[np.float64]:
    with PillowImage.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
        image.draft("L", (4 * _SIDE, 4 * _SIDE))
        image.thumbnail((4 * _SIDE, 4 * _SIDE))
        return np.asarray(image.convert("L"), np.float64)


def _likeness(small: npt.NDArray[np.float64], large: npt.NDArray[np.float64]) -> float:
    """The correlation of two pictures; bars that fill up a thumbnail are cut off."""
    ratio = large.shape[1] / large.shape[0]
    height, width = small.shape
    kept_h, kept_w = min(height, round(width / ratio)), min(width, round(height * ratio))
    top, left = (height - kept_h) // 2, (width - kept_w) // 2
    cut = small[top : top + kept_h, left : left + kept_w]
    return float(np.corrcoef(_even(cut), _even(large))[0, 1])


def _even(picture: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    image = PillowImage.fromarray(picture.astype(np.uint8)).resize((_SIDE, _SIDE))
    return np.asarray(image, np.float64).ravel()
