"""Lines of text as sprites, in the one font that Pillow carries."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from edge.overlay.sprites import Colour, Mask, Sprite, coloured, stamp
from edge.types import Image

CAP_HEIGHT = 0.7
"""Height of a capital letter, as a part of the font size."""

_DESCENT = 0.3
_LEAST_SPACE = 0.24
"""Width of a space, as a part of the font size; rounding makes the font's own vanish when small."""

_ALIKE = str.maketrans("×–—−‘’“”•", "x---''\"\"·")
_MISSING = "\uffff"
_PROBE_SIZE = 24


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@lru_cache(maxsize=512)
def _glyph(character: str, size: int, weight: int) -> Mask:
    """One character on the line box; `weight` pixels of stroke make it bold.

    The box begins `weight` pixels left of the pen and is as high as the line.
    """
    width = round(_font(size).getlength(character)) + size // 3 + 2 * weight
    picture = PillowImage.new("L", (width, line_height(size)))
    ImageDraw.Draw(picture).text(
        (weight, size), character, fill=255, font=_font(size), anchor="ls", stroke_width=weight
    )
    return np.asarray(picture)


@lru_cache(maxsize=2048)
def _advance(character: str, following: str, size: int) -> float:
    """From one pen position to the next, pixels, kerning included."""
    font = _font(size)
    advance = font.getlength(character + following) - font.getlength(following)
    return max(advance, _LEAST_SPACE * size) if character == " " else advance


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
    return "".join(_alike(character) for character in text.translate(_ALIKE))


@lru_cache(maxsize=512)
def _alike(character: str) -> str:
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
    if text_width(text, size) <= width:
        return text
    shortest, longest = 0, len(text)
    while longest - shortest > 1:
        middle = (shortest + longest) // 2
        if text_width(_without_middle(text, middle), size) <= width:
            shortest = middle
        else:
            longest = middle
    return _without_middle(text, shortest)


def _without_middle(text: str, kept: int) -> str:
    # The end tells files of one folder apart, so it gets the odd character.
    head = kept // 2
    return text[:head] + "…" + text[len(text) - (kept - head) :]


@lru_cache(maxsize=48)
def text_sprite(text: str, size: int, colour: Colour, weight: int = 0) -> Sprite:
    """A line of text.

    Args:
        text: printable text.
        size: font size in pixels.
        colour: BGR.
        weight: pixels by which strokes are thickened, for bold.

    Returns:
        A sprite as high as the line; the first pen position is its left edge.
    """
    pens = _pen_positions(text, size, weight)
    mask = np.zeros((line_height(size), max(1, round(pens[-1]) + size // 3)), np.uint8)
    for character, pen in zip(text, pens, strict=False):
        glyph = _glyph(character, size, weight)
        place = mask[:, round(pen) : round(pen) + glyph.shape[1]]
        np.maximum(place, glyph[:, : place.shape[1]], out=place)
    return coloured(mask, colour)


def bold(size: int) -> int:
    """The weight that makes a font of that size look bold."""
    return max(size // 28, int(size >= 20))


def write(
    picture: Image, text: str, x: int, baseline: int, size: int, colour: Colour, weight: int = 0
) -> None:
    """Write a printable line onto a picture, in place.

    Args:
        picture: uint8 [H, W, 3] BGR.
        text: printable text.
        x: column where it begins.
        baseline: row of its baseline.
        size: font size in pixels.
        colour: BGR.
        weight: pixels by which strokes are thickened.
    """
    stamp(picture, text_sprite(text, size, colour, weight), x, baseline - size)
