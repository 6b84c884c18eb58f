"""What is drawn over the picture besides the panel: an error, no signal, the camera's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import cv2

from edge.overlay.panel import draw_verdict
from edge.overlay.sprites import badge, icon, stamp
from edge.overlay.style import (
    FAINT_TEXT,
    PAPER,
    PAPER_OPACITY,
    STATE_COLOURS,
    TEXT,
    Colour,
    Layout,
)
from edge.overlay.text import (
    CAP_HEIGHT,
    bold,
    elided,
    printable,
    text_width,
    wrapped,
    write,
    write_centred,
)
from edge.types import Image, Result
from edge.words import STATE_WORDS, duration

_DIMMED = 0.18
_LEAST_HEIGHT = 120
_LEAST_WIDTH = 160
_MOST_NAME_HEIGHT = 0.3

_MOST_LINES = 3
_LONGEST_LINE = 34
"""Of a reason, in font sizes: longer ones are hard to follow."""

_SCALES = ((1.7, 1.3), (1.7, 1.0), (1.3, 1.0), (1.0, 1.0))
"""Sizes to try: of the word in font sizes of a verdict, of the rest in those of small text."""


def name_height(layout: Layout) -> int:
    """Rows at the upper edge that a label takes, its margin included."""
    return layout.margin + round(1.7 * _name_size(layout))


def draw_name(picture: Image, text: str, layout: Layout) -> None:
    """Write the printable name of a camera in the upper left corner, if any, where it has room."""
    height, width = picture.shape[:2]
    size, pad, corner = _name_size(layout), layout.pad, layout.margin
    room = width - 2 * corner - 2 * pad
    if not text or name_height(layout) > _MOST_NAME_HEIGHT * height or room < size:
        return
    # Bold letters are wider by their weight, about those of a font so much larger.
    text = elided(text, size + 2 * bold(size), room)
    badge_hw = (round(1.7 * size), text_width(text, size, bold(size)) + 2 * pad)
    paper = badge(badge_hw, PAPER, PAPER_OPACITY, layout.radius, layout.radius)
    stamp(picture, paper, corner, corner)
    baseline = corner + round((badge_hw[0] + CAP_HEIGHT * size) / 2)
    write(picture, text, corner + pad, baseline, size, TEXT, bold(size))


def draw_note(picture: Image, lines: Sequence[str], layout: Layout) -> None:
    """Write printable lines in the upper right corner, in place, as large as there is room."""
    height, width = picture.shape[:2]
    size, pad = _name_size(layout), layout.pad
    while size > 8 and max(text_width(line, size) for line in lines) > width - 4 * pad:
        size -= 1
    row = round(1.5 * size)
    badge_hw = (len(lines) * row + pad, max(text_width(line, size) for line in lines) + 2 * pad)
    if badge_hw[0] > height or badge_hw[1] > width:
        return
    left, top = width - badge_hw[1] - pad, pad
    stamp(picture, badge(badge_hw, PAPER, PAPER_OPACITY, layout.radius, layout.radius), left, top)
    for number, line in enumerate(lines):
        baseline = top + pad // 2 + number * row + round((row + CAP_HEIGHT * size) / 2)
        write(picture, line, left + pad, baseline, size, TEXT)


def _name_size(layout: Layout) -> int:
    return round(1.25 * layout.small)


def draw_notice(picture: Image, text: str, layout: Layout, rim: Colour | None = None) -> None:
    """Write a text into the upper left corner, in two lines at most; nothing on a small frame.

    With `rim` a strip of that colour stands at its left.
    """
    height, width = picture.shape[:2]
    size, pad, x = layout.small, layout.pad, layout.margin
    indent = 2 * pad if rim else pad
    lines = wrapped(printable(text), size, width - 2 * x - indent - pad, 2)
    if height < _LEAST_HEIGHT or width < _LEAST_WIDTH or not lines:
        return
    longest = max(text_width(line, size) for line in lines)
    badge_hw = (pad + len(lines) * layout.row_height, indent + longest + pad)
    radius = 0 if rim else layout.radius
    stamp(picture, badge(badge_hw, PAPER, PAPER_OPACITY, radius, radius), x, x)
    if rim:
        stamp(picture, badge((badge_hw[0], max(2, pad // 2)), rim), x, x)
    drop = pad // 2 + round((layout.row_height + CAP_HEIGHT * size) / 2)
    for number, line in enumerate(lines):
        write(picture, line, x + indent, x + number * layout.row_height + drop, size, TEXT)


def reason_of(result: Result) -> str:
    """Why a frame gave no evidence, or none comes, without the source's name at its beginning."""
    error = printable(result.error or "").strip()
    name = re.escape(printable(result.frame.source).strip())
    match = re.fullmatch(rf"{name}(?::\s*|\s+)(.+)", error, re.DOTALL) if name else None
    return error if match is None else match[1][:1].upper() + match[1][1:]


class _Line(NamedTuple):
    """A line in the middle of a picture without signal, so many pixels `below` the one before."""

    text: str
    size: int
    colour: Colour
    below: int = 0
    weight: int = 0

    @property
    def row(self) -> int:
        """Its height in pixels."""
        return round(1.3 * self.size)


def draw_no_signal(
    picture: Image, result: Result, layout: Layout, top: int = 0, held_s: float | None = None
) -> None:
    """Dim the picture and write in its middle that no signal comes, from where, why, and when.

    The smaller the picture, the less is written. `top` rows stay free.
    """
    cv2.convertScaleAbs(picture, dst=picture, alpha=_DIMMED, beta=PAPER[1])
    height, width = picture.shape[:2]
    room_hw = (height - layout.accent - top - 2 * layout.margin, width - 2 * layout.margin)
    for lines in _variants(result, layout, room_hw[1], held_s):
        word, tall = lines[0], sum(line.below + line.row for line in lines)
        if tall > room_hw[0] or text_width(word.text, word.size, word.weight) > room_hw[1]:
            continue
        y = max(top + layout.margin, (height - layout.accent - tall) // 2)
        if word.below:
            mark = icon("no_signal", word.below, STATE_COLOURS["no_signal"])
            stamp(picture, mark, (width - word.below) // 2, y)
        for line in lines:
            baseline = y + line.below + round((line.row + CAP_HEIGHT * line.size) / 2)
            write_centred(picture, line.text, baseline, line.size, line.colour, line.weight)
            y += line.below + line.row
        return
    draw_verdict(picture, result, layout)


def _variants(
    result: Result, layout: Layout, width: int, held_s: float | None
) -> Iterator[list[_Line]]:
    """What could be written, from the most to the least; a mark goes above the word, or not."""
    clock = datetime.fromtimestamp(result.frame.captured_at).strftime("%Y-%m-%d %H:%M:%S")
    if held_s is not None and held_s >= 1:
        clock = f"for {duration(held_s)}, {clock}"
    reason, source = reason_of(result), printable(result.frame.source).strip()
    if re.search(rf"(?<![\w./:-]){re.escape(source)}(?![\w/-])", reason):
        source = ""

    def lines(head: float, small: float, mark: bool, most: int, when: str = "") -> list[_Line]:
        size, large = round(small * layout.small), round(head * layout.head)
        limit = min(width, _LONGEST_LINE * size)
        why = wrapped(reason, size, limit, most) if most else ()
        if len(why) > 1:  # of similar length, so that no last word stands alone
            limit = min(limit, round(1.15 * text_width(reason, size) / len(why)))
            even = wrapped(reason, size, limit, most)
            why = even if len(even) == len(why) and "…" not in even[-1] else why
        gap, weight = round(0.5 * size) * mark, max(1, bold(large))
        found = [_Line(STATE_WORDS["no_signal"], large, TEXT, round(1.5 * large) * mark, weight)]
        for texts, colour in (((source,), TEXT), (why, FAINT_TEXT), ((when,), FAINT_TEXT)):
            shown = [elided(text, size, width) for text in texts if text]
            found += [_Line(text, size, colour, gap * (not n)) for n, text in enumerate(shown)]
        return found

    for head, small in _SCALES:
        yield lines(head, small, True, _MOST_LINES, clock)
    yield lines(1.0, 1.0, False, _MOST_LINES, clock)
    for most in range(_MOST_LINES, -1, -1):
        yield lines(1.0, 1.0, False, most)
