"""What is said over the picture when it is not the usual: an error, no signal."""

from __future__ import annotations

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
    lines = _two_lines(printable(message), size, room)
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


@lru_cache(maxsize=16)
def _two_lines(text: str, size: int, width: int) -> tuple[str, ...]:
    """The text in one line or two, broken between words; the second is shortened to fit."""
    words = text.split()
    first: list[str] = []
    while words and text_width(" ".join([*first, words[0]]), size) <= width:
        first.append(words.pop(0))
    lines = [" ".join(first), elided(" ".join(words), size, width)]
    return tuple(line for line in lines if line)


def draw_no_signal(picture: Image, result: Result, layout: Layout) -> None:
    """Dim the picture and say in its middle that no signal comes, from where and when.

    Args:
        picture: uint8 [H, W, 3] BGR, changed in place.
        result: of the placeholder frame.
        layout: sizes for this picture.
    """
    cv2.convertScaleAbs(picture, dst=picture, alpha=_DIMMED, beta=PAPER[1])
    height, width = picture.shape[:2]
    word, head = STATE_WORDS["no_signal"], round(1.7 * layout.head)
    side, row = round(1.5 * head), layout.row_height
    block = side + round(1.8 * head) + 2 * row
    if block + 2 * layout.margin > height or text_width(word, head, bold(head)) > width:
        draw_chip(picture, result.verdict, layout)
        return
    top = (height - block) // 2
    mark = icon("no_signal", side, STATE_COLOURS["no_signal"])
    stamp(picture, mark, (width - side) // 2, top)
    baseline = top + side + round(1.25 * head)
    _write_middle(picture, word, baseline, head, TEXT, bold(head))
    source = elided(printable(result.frame.source), layout.small, width - 2 * layout.margin)
    _write_middle(picture, source, baseline + round(0.4 * head) + row, layout.small, TEXT)
    clock = datetime.fromtimestamp(result.frame.captured_at).strftime("%Y-%m-%d %H:%M:%S")
    _write_middle(picture, clock, baseline + round(0.4 * head) + 2 * row, layout.small, FAINT_TEXT)


def _write_middle(
    picture: Image, text: str, baseline: int, size: int, colour: Colour, weight: int = 0
) -> None:
    x = (picture.shape[1] - text_width(text, size, weight)) // 2
    write(picture, text, x, baseline, size, colour, weight)
