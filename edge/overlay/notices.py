"""What is said over the picture when it is not the usual: an error, no signal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import cv2

from edge.overlay.chip import draw_chip
from edge.overlay.icons import icon
from edge.overlay.plates import plate
from edge.overlay.sprites import Colour, stamp
from edge.overlay.style import (
    FAINT_TEXT,
    PAPER,
    PAPER_OPACITY,
    STATE_COLOURS,
    STATE_WORDS,
    TEXT,
    Layout,
)
from edge.overlay.text import CAP_HEIGHT, bold, elided, printable, text_width, write
from edge.types import Image, Result

_DIMMED = 0.18
_LEAST_HEIGHT = 120
_LEAST_WIDTH = 160

_MOST_REASON = 3
"""Lines that a reason may take."""

_MEASURE = 34
"""Width of a line of a reason at most, in font sizes: longer ones are hard to follow."""

_SCALES = ((1.7, 1.3), (1.7, 1.0), (1.3, 1.0), (1.0, 1.0))
"""Sizes to try: of the word in font sizes of a verdict, of the rest in those of small text."""

Line = tuple[str, Colour]


def draw_error(picture: Image, message: str, layout: Layout) -> None:
    """Write an error along the upper edge, in place; nothing on a frame too small to read it.

    Args:
        picture: uint8 [H, W, 3] BGR.
        message: one sentence or two; shortened in its middle where two lines do not hold it.
        layout: sizes for this picture.
    """
    height, width = picture.shape[:2]
    if height < _LEAST_HEIGHT or width < _LEAST_WIDTH:
        return
    size, pad, x = layout.small, layout.pad, layout.margin
    room = width - 2 * x - 3 * pad
    lines = wrapped(printable(message), size, room, 2)
    if not lines:
        return
    longest = max(text_width(line, size) for line in lines)
    plate_hw = (2 * pad + len(lines) * layout.row_height, 3 * pad + longest)
    stamp(picture, plate(plate_hw, PAPER, PAPER_OPACITY), x, layout.margin)
    stamp(picture, plate((plate_hw[0], max(2, pad // 2)), STATE_COLOURS["uncertain"]), x, x)
    drop = round((layout.row_height + CAP_HEIGHT * size) / 2)
    for number, line in enumerate(lines):
        baseline = layout.margin + pad + number * layout.row_height + drop
        write(picture, line, x + 2 * pad, baseline, size, TEXT)


@lru_cache(maxsize=64)
def wrapped(text: str, size: int, width: int, most: int) -> tuple[str, ...]:
    """A text in lines, broken between words.

    Args:
        text: printable text.
        size: font size in pixels.
        width: of the lines in pixels; a word that is wider is shortened in its middle.
        most: so many lines at most; the last is shortened in its middle where they do not hold all.
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


@lru_cache(maxsize=64)
def _balanced(text: str, size: int, width: int, most: int) -> tuple[str, ...]:
    """As `wrapped`, with lines of like length, so that no last word stands alone."""
    lines = wrapped(text, size, width, most)
    if "…" in "".join(lines):
        return lines
    too_narrow = 0
    while width - too_narrow > 1:
        middle = (too_narrow + width) // 2
        tried = wrapped(text, size, middle, most)
        if len(tried) <= len(lines) and "…" not in "".join(tried):
            width, lines = middle, tried
        else:
            too_narrow = middle
    return lines


def reason_of(result: Result) -> str:
    """Why a frame gave no evidence, or none comes, as printable text without the source's name.

    Messages begin with the name of what they are about, which the picture shows elsewhere.
    """
    error = printable(result.error or "").strip()
    name = re.escape(printable(result.frame.source).strip())
    match = re.fullmatch(rf"{name}(?::\s*|\s+)(.+)", error, re.DOTALL) if name else None
    return error if match is None else match[1][:1].upper() + match[1][1:]


@dataclass(frozen=True, slots=True)
class _Block:
    """What is said in the middle of a picture without signal, and how large.

    Attributes:
        head: font size of the word.
        side: of the mark above it; 0 for none.
        size: font size of what stands below it.
        groups: the lines of that.
        gap: between groups.
    """

    head: int
    side: int
    size: int
    groups: tuple[tuple[Line, ...], ...]
    gap: int

    @property
    def row(self) -> int:
        """Height of a line below the word."""
        return round(1.4 * self.size)

    @property
    def baseline(self) -> int:
        """Of the word, below the block's upper edge."""
        return self.side + round((1.25 if self.side else 0.95) * self.head)

    @property
    def height(self) -> int:
        """Of all of it."""
        rows = sum(len(lines) * self.row for lines in self.groups)
        return self.baseline + round(0.3 * self.head) + rows + self.gap * (len(self.groups) - 1)


def draw_no_signal(picture: Image, result: Result, layout: Layout, top: int = 0) -> None:
    """Dim the picture and say in its middle that no signal comes, from where, why, and when.

    The smaller the picture, the less is said: letters grow smaller, then the mark is left out, then
    the time, then the reason; at last there is but a verdict in the corner.

    Args:
        picture: uint8 [H, W, 3] BGR, changed in place.
        result: of the placeholder frame; its error is the reason.
        layout: sizes for this picture.
        top: rows at the upper edge that are kept free.
    """
    cv2.convertScaleAbs(picture, dst=picture, alpha=_DIMMED, beta=PAPER[1])
    height, width = picture.shape[:2]
    room_hw = (height - layout.accent - top - 2 * layout.margin, width - 2 * layout.margin)
    for block in _blocks(result, layout, room_hw[1]):
        if block.height <= room_hw[0] and _word_width(block.head) <= room_hw[1]:
            middle = (height - layout.accent - block.height) // 2
            _draw_block(picture, block, max(top + layout.margin, middle))
            return
    draw_chip(picture, result.verdict, layout)


def _blocks(result: Result, layout: Layout, width: int) -> Iterator[_Block]:
    """What could be said, from the most to the least."""
    clock = datetime.fromtimestamp(result.frame.captured_at).strftime("%Y-%m-%d %H:%M:%S")
    source, reason = _source(result), reason_of(result)

    def block(head: float, small: float, mark: bool, most: int, when: str = "") -> _Block:
        size = round(small * layout.small)
        why = _balanced(reason, size, min(width, _MEASURE * size), most) if most else ()
        lines = ((source, TEXT),), tuple((line, FAINT_TEXT) for line in why), ((when, FAINT_TEXT),)
        shown = [
            tuple((elided(text, size, width), colour) for text, colour in group if text)
            for group in lines
        ]
        head = round(head * layout.head)
        groups = tuple(group for group in shown if group)
        return _Block(head, round(1.5 * head) * mark, size, groups, round(0.5 * size) * mark)

    for head, small in _SCALES:
        yield block(head, small, True, _MOST_REASON, clock)
    yield block(1.0, 1.0, False, _MOST_REASON, clock)
    for most in range(_MOST_REASON, -1, -1):
        yield block(1.0, 1.0, False, most)


def _source(result: Result) -> str:
    """The name of the source; empty where the reason holds it."""
    source = printable(result.frame.source).strip()
    held = rf"(?<![\w./:-]){re.escape(source)}(?![\w/-])"
    return "" if re.search(held, reason_of(result)) else source


def _word_width(head: int) -> int:
    return text_width(STATE_WORDS["no_signal"], head, _weight(head))


def _weight(head: int) -> int:
    return max(1, bold(head))


def _draw_block(picture: Image, block: _Block, top: int) -> None:
    if block.side:
        mark = icon("no_signal", block.side, STATE_COLOURS["no_signal"])
        stamp(picture, mark, (picture.shape[1] - block.side) // 2, top)
    word, head = STATE_WORDS["no_signal"], block.head
    _write_middle(picture, word, top + block.baseline, head, TEXT, _weight(head))
    y = top + block.baseline + round(0.3 * head)
    drop = round((block.row + CAP_HEIGHT * block.size) / 2)
    for lines in block.groups:
        for text, colour in lines:
            _write_middle(picture, text, y + drop, block.size, colour)
            y += block.row
        y += block.gap


def _write_middle(
    picture: Image, text: str, baseline: int, size: int, colour: Colour, weight: int = 0
) -> None:
    x = (picture.shape[1] - text_width(text, size, weight)) // 2
    write(picture, text, x, baseline, size, colour, weight)
