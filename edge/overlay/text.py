"""Lines of text as sprites, in the one font that Pillow carries."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from edge.overlay.sprites import Mask, Sprite, coloured, stamp
from edge.overlay.style import Colour
from edge.types import Image

CAP_HEIGHT = 0.7
"""Height of a capital letter, as a part of the font size."""

_DESCENT = 0.3
_FINE = 4
"""Letters are placed at quarters of a pixel."""

_SIMILAR = str.maketrans("×–—−‘’“”•", "x---''\"\"·")
_MISSING = "\uffff"
_PROBE_SIZE = 24


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=2048)
def _glyph(character: str, size: int, weight: int, phase: int) -> Mask:
    """One character, as high as the line; `weight` pixels of stroke begin left of the pen.

    Drawn larger and reduced, so that it may begin at any of `_FINE` phases of a pixel: fitted to
    whole pixels, small letters would stand unevenly.
    """
    width = round(_font(size).getlength(character)) + size // 3 + 2 * weight + 1
    large = PillowImage.new("L", (_FINE * width, _FINE * line_height(size)))
    ImageDraw.Draw(large).text(
        (_FINE * weight + phase, _FINE * size),
        character,
        fill=255,
        font=_font(_FINE * size),
        anchor="ls",
        stroke_width=_FINE * weight,
    )
    return np.asarray(large.reduce(_FINE))


@lru_cache(maxsize=2048)
def _advance(character: str, following: str, size: int) -> float:
    """From one pen position to the next, pixels, kerning included."""
    # Of a small font widths are rounded to whole pixels.
    font = _font(1000)
    return (font.getlength(character + following) - font.getlength(following)) * size / 1000


@lru_cache(maxsize=512)
def _is_drawable(character: str) -> bool:
    # A lone surrogate (a file name that is not UTF-8) cannot even be looked up.
    if unicodedata.category(character) == "Cs":
        return False
    probe = _font(_PROBE_SIZE)
    return bytes(probe.getmask(character)) != bytes(probe.getmask(_MISSING))


def line_height(size: int) -> int:
    """Height in pixels of a line box; its baseline lies `size` pixels below its top."""
    return size + round(size * _DESCENT)


@lru_cache(maxsize=64)
def printable(text: str) -> str:
    """Text that the font can draw: accents are dropped, what it lacks becomes "?"."""
    return "".join(_similar(character) for character in text.translate(_SIMILAR))


def _similar(character: str) -> str:
    if character.isspace():
        return " "
    if _is_drawable(character):
        return character
    parts = unicodedata.normalize("NFKD", character)
    return "".join(c if _is_drawable(c) else "?" for c in parts if not unicodedata.combining(c))


def _pen_positions(text: str, size: int, weight: int) -> list[float]:
    positions = [0.0]
    for character, following in zip(text, text[1:] + " ", strict=False):
        positions.append(positions[-1] + _advance(character, following, size) + weight)
    return positions


def text_width(text: str, size: int, weight: int = 0) -> int:
    """Width in pixels of a printable line."""
    return round(_pen_positions(text, size, weight)[-1])


@lru_cache(maxsize=64)
def elided(text: str, size: int, width: int) -> str:
    """The line shortened in its middle until it is at most `width` pixels wide."""

    def shortened(kept: int) -> str:
        # Files of one folder differ at their end, so it gets the odd character.
        head = kept // 2
        return text[:head] + "…" + text[len(text) - (kept - head) :]

    def is_too_wide(kept: int) -> bool:
        return text_width(shortened(kept), size) > width

    if text_width(text, size) <= width:
        return text
    return shortened(bisect_left(range(1, len(text)), True, key=is_too_wide))


def write_centred(
    picture: Image, text: str, baseline: int, size: int, colour: Colour, weight: int = 0
) -> None:
    """Write a printable line in the middle between left and right; see `write`."""
    x = (picture.shape[1] - text_width(text, size, weight)) // 2
    write(picture, text, x, baseline, size, colour, weight)


@lru_cache(maxsize=64)
def wrapped(text: str, size: int, width: int, most: int) -> tuple[str, ...]:
    """A printable text in at most `most` lines, broken between words.

    What is wider than `width` pixels is shortened in its middle, a word or the end of the text.
    """
    words = text.split()
    lines: list[str] = []
    while words and len(lines) < most - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        lines.append(elided(" ".join(words[:count]), size, width))
        words = words[count:]
    return (*lines, elided(" ".join(words), size, width)) if words else tuple(lines)


@lru_cache(maxsize=48)
def text_sprite(text: str, size: int, colour: Colour, weight: int = 0) -> Sprite:
    """A printable line, strokes thickened by `weight` pixels; its left edge is the first pen."""
    pens = _pen_positions(text, size, weight)
    mask = np.zeros((line_height(size), max(1, round(pens[-1]) + size // 3)), np.uint8)
    for character, pen in zip(text, pens, strict=False):
        at, phase = divmod(round(_FINE * pen), _FINE)
        glyph = _glyph(character, size, weight, phase)
        place = mask[:, at : at + glyph.shape[1]]
        np.maximum(place, glyph[:, : place.shape[1]], out=place)
    return coloured(mask, colour)


def bold(size: int) -> int:
    """The weight that makes a font of that size look bold."""
    return max(size // 28, int(size >= 20))


def write(
    picture: Image, text: str, x: int, baseline: int, size: int, colour: Colour, weight: int = 0
) -> None:
    """Write a printable line onto a picture, in place, from column `x` on; see `text_sprite`."""
    stamp(picture, text_sprite(text, size, colour, weight), x, baseline - size)
