"""A clock in the picture: a time drawn as black and white blocks that survive H.264.

48 blocks of 16×16 pixels, each one macroblock, in two rows at the top left: 40 bits of time in
microseconds and 8 bits that tell a misread one.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from edge.types import Image

BLOCK_PX = 16
ROWS, COLUMNS = 2, 24
TIME_BITS, CHECK_BITS = 40, 8
HEIGHT_PX, WIDTH_PX = ROWS * BLOCK_PX, COLUMNS * BLOCK_PX
TURN_US = 1 << TIME_BITS
"""The clock in the picture starts over after so many microseconds, 12.7 days."""

_BLACK, _WHITE = 16, 235
_MARGIN_PX = 4


def draw_stamp(image: Image, time_us: int) -> None:
    """Draw a time into the top left corner.

    Args:
        image: uint8 [H, W, 3] BGR, at least 32×384; changed.
        time_us: microseconds of any clock; kept modulo 2⁴⁰.

    Raises:
        ValueError: the picture is too small.
    """
    if image.shape[0] < HEIGHT_PX or image.shape[1] < WIDTH_PX:
        raise ValueError(f"a stamp needs {WIDTH_PX}×{HEIGHT_PX} pixels, found {image.shape[:2]}")
    value = time_us % TURN_US
    word = value << CHECK_BITS | _check(value)
    bits = [word >> (TIME_BITS + CHECK_BITS - 1 - place) & 1 for place in range(ROWS * COLUMNS)]
    levels = np.where(np.reshape(bits, (ROWS, COLUMNS)), _WHITE, _BLACK).astype(np.uint8)
    blocks = levels.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)
    image[:HEIGHT_PX, :WIDTH_PX] = blocks[:, :, None]


def read_stamp(image: Image) -> int | None:
    """The time that was drawn, in microseconds modulo 2⁴⁰; None where none can be read."""
    if image.shape[0] < HEIGHT_PX or image.shape[1] < WIDTH_PX:
        return None
    word = 0
    for bit in _blocks(image).mean((1, 3, 4)).ravel() > (_BLACK + _WHITE) / 2:
        word = word << 1 | int(bit)
    value, check = word >> CHECK_BITS, word & (1 << CHECK_BITS) - 1
    return value if check == _check(value) else None


def _blocks(image: Image) -> npt.NDArray[np.uint8]:
    """The inner pixels of each block, [rows, px, columns, px, 3]; edges are blurred by coding."""
    corner = image[:HEIGHT_PX, :WIDTH_PX]
    split = corner.reshape(ROWS, BLOCK_PX, COLUMNS, BLOCK_PX, 3)
    inner = slice(_MARGIN_PX, BLOCK_PX - _MARGIN_PX)
    return split[:, inner, :, inner]


def _check(value: int) -> int:
    # Not of the bare value: a black picture, all zeros, must not be a valid time.
    return zlib.crc32(b"stamp" + value.to_bytes(TIME_BITS // 8, "big")) & (1 << CHECK_BITS) - 1
