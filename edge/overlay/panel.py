"""The panel in the corner: verdict, score, history, source, rate and latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge.overlay.sprites import Mask, badge, coloured, icon, stamp
from edge.overlay.style import (
    FAINT_TEXT,
    INK,
    PAPER,
    PAPER_OPACITY,
    STATE_COLOURS,
    STATE_WORDS,
    TEXT,
    Colour,
    Hud,
    Layout,
)
from edge.overlay.text import CAP_HEIGHT, bold, elided, printable, text_width, write
from edge.types import Box, Image, Result, State

SCORE_CAPTION = "fake"
"""What a score is a probability of; "REAL 7 %" alone would mean the opposite."""

NO_FACE = "NO FACE"
"""In place of a verdict, where faces are judged and there is none."""

LEAST_SPAN_S = 10.0
"""What the chart covers at least; a shorter history grows in from the right."""

_MOST_OF_HEIGHT = 0.45
_MOST_OF_WIDTH = 0.6
_CAPTION = 0.38
_LEAST_CAPTION = 9
_LEAST_HEAD = 8

_FILL = 80
_RULE = 150
_STEP = 6
"""Columns of pixels to a vertex of the line, about."""

_SUBPIXEL_BITS = 4

History = Sequence[tuple[float, float | None]]
Points = npt.NDArray[np.int32]


def draw_panel(picture: Image, result: Result, hud: Hud, layout: Layout) -> None:
    """Draw the panel in the lower left corner; on a small frame the verdict alone."""
    height, width = picture.shape[:2]
    rows = _rows(result, hud)
    chart = layout.chart_height + layout.pad if len(hud.history) > 1 else 0
    body = 2 * layout.pad + chart + len(rows) * layout.row_height
    top = _verdict_height(layout.head)
    panel = layout.panel_width
    if top + body > _MOST_OF_HEIGHT * height or panel > _MOST_OF_WIDTH * width:
        draw_verdict(picture, result, layout)
        return
    x, y = layout.margin, height - layout.accent - layout.margin - top - body
    state = result.verdict.state
    stamp(picture, badge((top, panel), STATE_COLOURS[state], top_radius=layout.radius), x, y)
    _write_verdict(picture, state, wording(result), (x, y), panel, layout.head)
    y += top
    paper = badge((body, panel), PAPER, PAPER_OPACITY, bottom_radius=layout.radius)
    stamp(picture, paper, x, y)
    left, y, right = x + layout.pad, y + layout.pad, x + panel - layout.pad
    if chart:
        box = (left, y, right, y + layout.chart_height)
        _draw_chart(picture, box, hud.history, hud.calibration.threshold, layout.line)
    drop = round((layout.row_height + CAP_HEIGHT * layout.small) / 2)
    for number, (text, colour) in enumerate(rows):
        line = elided(text, layout.small, right - left)
        baseline = y + chart + number * layout.row_height + drop
        write(picture, line, left, baseline, layout.small, colour)


def _rows(result: Result, hud: Hud) -> list[tuple[str, Colour]]:
    def short(value: float) -> str:
        return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"

    faces = result.faces
    measured = [f"{faces} {'face' if faces == 1 else 'faces'}"] if faces else []
    if hud.fps is not None and math.isfinite(hud.fps):
        measured.append(f"{short(hud.fps)} fps")
    if "model" in result.timings_ms:
        measured.append(f"model {short(result.timings_ms['model'])} ms")
    rows = [(printable(result.frame.source), TEXT), (" · ".join(measured), FAINT_TEXT)]
    return [row for row in rows if row[0].strip()]


def wording(result: Result) -> tuple[str, str]:
    """The word and the score of a verdict, either perhaps empty."""
    word = NO_FACE if result.faces == 0 else STATE_WORDS[result.verdict.state]
    return word, score_text(result.verdict.score)


def score_text(score: float | None) -> str:
    """A score for people; it never claims certainty. Empty where there is none."""
    if score is None or not math.isfinite(score):
        return ""
    percent = round(100 * score)
    return "<1 %" if percent < 1 else ">99 %" if percent > 99 else f"{percent} %"


def draw_verdict(picture: Image, result: Result, layout: Layout) -> None:
    """Draw a verdict alone in the lower left corner: as large as fits, at last its mark alone."""
    height, width = picture.shape[:2]
    state, (word, score) = result.verdict.state, wording(result)
    for texts in ((word, score), (word, ""), ("", "")):
        head = _largest_head(texts, layout.head, (height - layout.accent, width))
        if head:
            size_hw = (_verdict_height(head), _verdict_width(texts, head))
            y = height - layout.accent - size_hw[0]
            stamp(picture, badge(size_hw, STATE_COLOURS[state]), 0, y)
            _write_verdict(picture, state, texts, (0, y), size_hw[1], head)
            return


def _write_verdict(
    picture: Image,
    state: State,
    texts: tuple[str, str],
    corner: tuple[int, int],
    width: int,
    head: int,
) -> None:
    """Write onto a badge: mark and word at the left, score at the right."""
    (word, score), pad, side = texts, _pad(head), _side(head)
    middle = corner[1] + _verdict_height(head) // 2
    stamp(picture, icon(state, side, INK), corner[0] + pad, middle - side // 2)
    start, end = corner[0] + 2 * pad + side, corner[0] + width - pad
    if score:
        end -= _write_score(picture, score, end, middle, head) + pad
    _write_middle(picture, word, start, middle, _fitting_size(word, head, end - start))


def _write_score(picture: Image, score: str, right: int, middle: int, head: int) -> int:
    """Write a score with its caption beneath, where that is legible; return its width."""
    caption, size = round(_CAPTION * head), head
    if caption >= _LEAST_CAPTION:
        size = round(0.84 * head)
        x = right - text_width(SCORE_CAPTION, caption)
        write(picture, SCORE_CAPTION, x, middle + round(0.54 * head), caption, INK)
        middle -= round(0.18 * head)
    width = text_width(score, size, bold(size))
    _write_middle(picture, score, right - width, middle, size)
    return width


def _write_middle(picture: Image, text: str, x: int, middle: int, size: int) -> None:
    write(picture, text, x, middle + round(CAP_HEIGHT * size / 2), size, INK, bold(size))


def _verdict_height(head: int) -> int:
    return round(1.5 * head)


def _pad(head: int) -> int:
    return round(0.32 * head)


def _side(head: int) -> int:
    """Of the mark."""
    return round(0.95 * head)


def _verdict_width(texts: tuple[str, ...], head: int) -> int:
    widths = [_pad(head) + text_width(text, head, bold(head)) for text in texts if text]
    return 2 * _pad(head) + _side(head) + sum(widths)


@lru_cache(maxsize=64)
def _largest_head(texts: tuple[str, ...], head: int, room_hw: tuple[int, int]) -> int | None:
    """The largest font size up to `head` at which a badge fits; None if none does."""

    def fits(size: int) -> bool:
        return _verdict_height(size) <= room_hw[0] and _verdict_width(texts, size) <= room_hw[1]

    return next(filter(fits, range(head, _LEAST_HEAD - 1, -1)), None)


def _fitting_size(word: str, size: int, width: int) -> int:
    """The largest font size up to `size` at which a word is at most `width` pixels wide."""
    while size > 1 and text_width(word, size, bold(size)) > width:
        size -= 1
    return size


def _draw_chart(picture: Image, box: Box, history: History, threshold: float, line: int) -> None:
    """Draw a history: above the threshold in the colour of fake, below in that of real."""
    left, top, right, bottom = box
    hw = (bottom - top, right - left)
    border = 2 * line + 1  # keeps the line's thickness inside
    depth = hw[0] - 1 - 2 * border
    rule = border + (1 - threshold) * depth
    mask = np.zeros(hw, np.uint8)
    ages, scores = _sampled(history, hw[1])
    points = np.stack([(1 - ages) * (hw[1] - 1 - border), border + (1 - scores) * depth], axis=1)
    runs = _runs(points)
    for run in runs:
        area = np.concatenate([run, run[[-1, 0]]])
        area[-2:, 1] = round(rule * 2**_SUBPIXEL_BITS)
        cv2.fillPoly(mask, [area], _FILL, cv2.LINE_8, _SUBPIXEL_BITS)
    split = round(rule)
    mask[split] = 0
    stamp(picture, coloured(_dashes(hw, rule, line), FAINT_TEXT), left, top)
    cv2.polylines(mask, runs, False, 255, line, cv2.LINE_AA, _SUBPIXEL_BITS)
    if runs and history[-1][1] is not None:
        radius = round(max(2.0, 1.6 * line) * 2**_SUBPIXEL_BITS)
        newest = runs[-1][-1].tolist()
        cv2.circle(mask, newest, radius, 255, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    stamp(picture, coloured(mask[:split], STATE_COLOURS["fake"]), left, top)
    stamp(picture, coloured(mask[split:], STATE_COLOURS["real"]), left, top + split)


def _sampled(history: History, width: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Ages as parts of the chart's span, and scores with NaN for gaps; one per `_STEP` columns.

    The last of each bin of absolute time, so that the same frames are drawn while the line moves.
    """
    times, scores = np.array(history, np.float64).T  # None becomes NaN
    span = max(LEAST_SPAN_S, times[-1] - times[0])
    bins = times // (span * _STEP / width)
    kept = np.append(np.flatnonzero(np.diff(bins)), len(bins) - 1)
    return (times[-1] - times[kept]) / span, np.clip(scores[kept], 0, 1)


def _runs(points: npt.NDArray[np.float64]) -> list[Points]:
    """The stretches without a gap, as fixed-point vertices [n, 2] (x, y)."""
    known = np.isfinite(points[:, 1])
    parts = np.split(points, np.flatnonzero(np.diff(known)) + 1)
    fixed = [part * 2**_SUBPIXEL_BITS for part in parts if np.isfinite(part).all()]
    return [np.rint(part).astype(np.int32) for part in fixed]


def _dashes(hw: tuple[int, int], rule: float, line: int) -> Mask:
    mask = np.zeros(hw, np.uint8)
    thickness = max(1, line // 2)
    top = round(rule - thickness / 2)
    mask[top : top + thickness, np.arange(hw[1]) % (6 * line) < 3 * line] = _RULE
    return mask
