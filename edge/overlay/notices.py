"""What is drawn over the picture besides the panel: an error, no signal, the camera's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

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


class _Block:
    """What stands in the middle of a picture without signal: a mark, the word, lines in groups.

    `head` is the font size of the word, `size` of what stands below it. Without a mark, all is
    closer together.
    """

    def __init__(
        self, head: int, size: int, marked: bool, groups: Sequence[Sequence[tuple[str, Colour]]]
    ) -> None:
        self._side = round(1.5 * head) * marked
        word, row, gap = STATE_WORDS["no_signal"], round(1.4 * size), round(0.5 * size) * marked
        weight = max(1, bold(head))
        self.width = text_width(word, head, weight)
        y = self._side + round((1.25 if marked else 0.95) * head)
        self._lines = [(word, y, head, TEXT, weight)]
        y += round(0.3 * head)
        drop = round((row + CAP_HEIGHT * size) / 2)
        for lines in groups:
            for text, colour in lines:
                self._lines.append((text, y + drop, size, colour, 0))
                y += row
            y += gap
        self.height = y - gap

    def draw(self, picture: Image, top: int) -> None:
        if self._side:
            mark = icon("no_signal", self._side, STATE_COLOURS["no_signal"])
            stamp(picture, mark, (picture.shape[1] - self._side) // 2, top)
        for text, baseline, size, colour, weight in self._lines:
            write_centred(picture, text, top + baseline, size, colour, weight)


def draw_no_signal(
    picture: Image, result: Result, layout: Layout, top: int = 0, held_s: float | None = None
) -> None:
    """Dim the picture and write in its middle that no signal comes, from where, why, and when.

    The smaller the picture, the less is written. `top` rows stay free.
    """
    cv2.convertScaleAbs(picture, dst=picture, alpha=_DIMMED, beta=PAPER[1])
    height, width = picture.shape[:2]
    room_hw = (height - layout.accent - top - 2 * layout.margin, width - 2 * layout.margin)
    for block in _blocks(result, layout, room_hw[1], held_s):
        if block.height <= room_hw[0] and block.width <= room_hw[1]:
            middle = (height - layout.accent - block.height) // 2
            block.draw(picture, max(top + layout.margin, middle))
            return
    draw_verdict(picture, result, layout)


def _blocks(result: Result, layout: Layout, width: int, held_s: float | None) -> Iterator[_Block]:
    """What could be written, from the most to the least."""
    clock = datetime.fromtimestamp(result.frame.captured_at).strftime("%Y-%m-%d %H:%M:%S")
    if held_s is not None and held_s >= 1:
        clock = f"for {duration(held_s)}, {clock}"
    reason, source = reason_of(result), printable(result.frame.source).strip()
    if re.search(rf"(?<![\w./:-]){re.escape(source)}(?![\w/-])", reason):
        source = ""

    def block(head: float, small: float, mark: bool, most: int, when: str = "") -> _Block:
        size = round(small * layout.small)
        why = wrapped(reason, size, min(width, _LONGEST_LINE * size), most) if most else ()
        lines = ((source, TEXT),), tuple((line, FAINT_TEXT) for line in why), ((when, FAINT_TEXT),)
        shown = [
            tuple((elided(text, size, width), colour) for text, colour in group if text)
            for group in lines
        ]
        return _Block(round(head * layout.head), size, mark, [group for group in shown if group])

    for head, small in _SCALES:
        yield block(head, small, True, _MOST_LINES, clock)
    yield block(1.0, 1.0, False, _MOST_LINES, clock)
    for most in range(_MOST_LINES, -1, -1):
        yield block(1.0, 1.0, False, most)
