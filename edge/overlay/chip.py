"""The block of colour that carries the verdict: a mark, the word, the score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from edge.overlay.icons import icon
from edge.overlay.plates import plate
from edge.overlay.sprites import stamp
from edge.overlay.style import INK, STATE_COLOURS, STATE_WORDS, Layout
from edge.overlay.text import CAP_HEIGHT, bold, text_width, write
from edge.types import Image, State, Verdict

SCORE_CAPTION = "fake"
"""What a score is a probability of; "REAL 7 %" alone would say the opposite of what it means."""

NO_FACE = "NO FACE"
"""In place of a verdict, where faces are judged and there is none."""

_CAPTION = 0.38
_LEAST_CAPTION = 9
_LEAST_HEAD = 8


@dataclass(frozen=True, slots=True)
class Wording:
    """What a chip says; an empty word or score is left out."""

    state: State
    word: str = ""
    score: str = ""


def wording(verdict: Verdict, no_face: bool = False) -> Wording:
    """All that a chip can say of a verdict, or that there is no face to judge."""
    word = NO_FACE if no_face else STATE_WORDS[verdict.state]
    return Wording(verdict.state, word, score_text(verdict.score))


def score_text(score: float | None) -> str:
    """A score for people; it never claims certainty. Empty where there is none."""
    if score is None or not math.isfinite(score):
        return ""
    percent = round(100 * score)
    return "<1 %" if percent < 1 else ">99 %" if percent > 99 else f"{percent} %"


def chip_height(head: int) -> int:
    """Height of a chip in pixels, for a font size."""
    return round(1.5 * head)


def draw_chip(picture: Image, verdict: Verdict, layout: Layout, no_face: bool = False) -> None:
    """Draw a verdict alone in the lower left corner, in place, as large as fits.

    Where not all fits: the mark and the word, the mark alone, nothing.

    Args:
        picture: uint8 [H, W, 3] BGR.
        verdict: what to say.
        layout: sizes for this picture.
        no_face: say that there is no face instead.
    """
    height, width = picture.shape[:2]
    whole = wording(verdict, no_face)
    for said in (whole, Wording(whole.state, whole.word), Wording(whole.state)):
        head = _largest_head(said, layout.head, (height - layout.accent, width))
        if head is None:
            continue
        y = height - layout.accent - chip_height(head)
        size_hw = (chip_height(head), _chip_width(said, head))
        stamp(picture, plate(size_hw, STATE_COLOURS[said.state]), 0, y)
        draw_wording(picture, said, (0, y), size_hw[1], head)
        return


def draw_wording(
    picture: Image, said: Wording, corner: tuple[int, int], width: int, head: int
) -> None:
    """Write onto a chip, in place: mark and word at the left, score at the right.

    Args:
        picture: uint8 [H, W, 3] BGR.
        said: what to write; the word shrinks until it fits.
        corner: (x, y) of the chip's upper left corner.
        width: of the chip in pixels.
        head: font size in pixels.
    """
    pad, side, gap = _spacing(head)
    middle = corner[1] + chip_height(head) // 2
    stamp(picture, icon(said.state, side, INK), corner[0] + pad, middle - side // 2)
    start, end = corner[0] + pad + side + gap, corner[0] + width - pad
    if said.score:
        end -= _draw_score(picture, said.score, end, middle, head) + gap
    _write_centred(picture, said.word, start, middle, _fitting_size(said.word, head, end - start))


def _draw_score(picture: Image, score: str, right: int, middle: int, head: int) -> int:
    """Write a score with its caption beneath, where that is legible; return its width."""
    caption, size = round(_CAPTION * head), head
    if caption >= _LEAST_CAPTION:
        size = round(0.84 * head)
        x = right - text_width(SCORE_CAPTION, caption)
        write(picture, SCORE_CAPTION, x, middle + round(0.54 * head), caption, INK)
        middle -= round(0.18 * head)
    width = text_width(score, size, bold(size))
    _write_centred(picture, score, right - width, middle, size)
    return width


def _write_centred(picture: Image, text: str, x: int, middle: int, size: int) -> None:
    write(picture, text, x, middle + round(CAP_HEIGHT * size / 2), size, INK, bold(size))


def _spacing(head: int) -> tuple[int, int, int]:
    """The chip's pad, the side of its mark and the gap between its parts, pixels."""
    return round(0.32 * head), round(0.95 * head), round(0.32 * head)


def _chip_width(said: Wording, head: int) -> int:
    pad, side, gap = _spacing(head)
    texts = [text for text in (said.word, said.score) if text]
    return 2 * pad + side + sum(gap + text_width(text, head, bold(head)) for text in texts)


@lru_cache(maxsize=64)
def _largest_head(said: Wording, head: int, room_hw: tuple[int, int]) -> int | None:
    """The largest font size up to `head` at which a chip fits; None if none does."""
    for size in range(head, _LEAST_HEAD - 1, -1):
        if chip_height(size) <= room_hw[0] and _chip_width(said, size) <= room_hw[1]:
            return size
    return None


@lru_cache(maxsize=64)
def _fitting_size(word: str, size: int, width: int) -> int:
    """The largest font size up to `size` at which a word is at most `width` pixels wide."""
    while size > 1 and text_width(word, size, bold(size)) > width:
        size -= 1
    return size
