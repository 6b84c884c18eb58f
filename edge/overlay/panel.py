"""The panel in the corner: verdict, score and threshold, since when, the trend, the source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge.overlay.heat import OPACITY, palette
from edge.overlay.sprites import badge, blend, coloured, icon, stamp
from edge.overlay.style import (
    FAINT_TEXT,
    INK,
    PAPER,
    PAPER_OPACITY,
    STATE_COLOURS,
    TEXT,
    Hud,
    Layout,
)
from edge.overlay.text import CAP_HEIGHT, bold, elided, printable, text_width, write
from edge.types import Box, Image, Result, State
from edge.words import MEANING, area_of, counted, duration, has_no_face, percent, position, word_of

SPANS_S = (10.0, 20.0, 40.0, 60.0)
"""What the chart may cover; a shorter history grows in from the right."""

_MOST_OF_HEIGHT = 0.45
_MOST_OF_WIDTH = 0.6
_NUMBER = 0.7
"""Font size of the score, in those of the word."""
_LEAST_HEAD = 8
_LEAST_AXIS = 10

_FILL, _RULE = 80, 190
_TRACK = (90, 84, 80)
_STEP = 6
"""Columns of pixels to a vertex of the line, about."""

_SUBPIXEL_BITS = 4

History = Sequence[tuple[float, float | None]]
Points = npt.NDArray[np.int32]
LEGEND = "\0"
"""Begins a row with the scale of the heat map before its text."""
_LEGEND_TITLE, _AFTER_POSITION = "heat map: ", "  "


def draw_panel(picture: Image, result: Result, hud: Hud, layout: Layout, heated: bool) -> None:
    """Draw the panel in the lower left corner, with less in it the smaller the frame is.

    Args:
        picture: uint8 [H, W, 3] BGR, in place.
        result: what is known.
        hud: and besides.
        layout: for its size.
        heated: whether there is a heat map, whose scale is shown then.
    """
    height, width = picture.shape[:2]
    top, bar = _verdict_height(layout.head), layout.bar_height
    room = _MOST_OF_HEIGHT * height - top - bar - 2 * layout.pad
    panel = layout.panel_width
    for chart, rows in _contents(result, hud, layout, heated):
        body = chart + len(rows) * layout.row_height
        if body <= room and panel <= _MOST_OF_WIDTH * width:
            break
    else:
        draw_verdict(picture, result, layout)
        return
    x = layout.margin
    y = height - layout.accent - layout.margin - top - bar - 2 * layout.pad - body
    state = result.verdict.state
    stamp(picture, badge((top, panel), STATE_COLOURS[state], top_radius=layout.radius), x, y)
    _write_verdict(picture, state, _texts(result), (x, y), panel, layout.head)
    y += top
    paper_hw = (bar + 2 * layout.pad + body, panel)
    stamp(picture, badge(paper_hw, PAPER, PAPER_OPACITY, bottom_radius=layout.radius), x, y)
    _draw_bar(picture, (x, y, x + panel, y + bar), result, hud)
    left, y, right = x + layout.pad, y + bar + layout.pad, x + panel - layout.pad
    for row in rows:
        _write_row(picture, row, (left, y, right, y + layout.row_height), result, layout)
        y += layout.row_height
    if chart:
        box = (left, y + layout.pad, right, y + chart)
        _draw_chart(picture, box, hud, layout)


def _contents(
    result: Result, hud: Hud, layout: Layout, heated: bool
) -> Iterator[tuple[int, list[list[str]]]]:
    """Height of the chart and the rows of text, from the most to the least."""
    low, high = (percent(value) for value in (hud.calibration.threshold, 1.0))
    rows = [row for row in _rows(result, hud) if row]
    full = [*rows, *[[f"{LEGEND}{_LEGEND_TITLE}fake {low} to {high}"]] * heated]
    chart = layout.chart_height + layout.pad if len(hud.history) > 1 else 0
    if chart:
        yield chart, full
        yield chart, rows
    rows[-1] = [f"threshold {low}", *rows[-1]]
    for count in range(len(rows), 0, -1):
        yield 0, [*rows[:count], *full[len(rows) :]]
        yield 0, rows[:count]


def _rows(result: Result, hud: Hud) -> list[list[str]]:
    """The rows, each of parts of which those at the end can be left out."""

    def short(value: float) -> str:
        return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"

    said = result.verdict.reason or MEANING[result.verdict.state]
    if has_no_face(result):
        said = "no face in the picture"
    if hud.held_s is not None and hud.held_s >= 1:
        said += f" for {duration(hud.held_s)}"
    faces, frame = result.faces, result.frame
    seen = counted(faces, "face") if faces else ""
    parts = tuple(region for region in result.regions if region.track is None)
    measured = [area_of(parts, frame.size_hw)] if parts else []
    measured += [seen] if seen else []
    if hud.fps is not None and math.isfinite(hud.fps):
        measured.append(f"{short(hud.fps)} fps")
    if "model" in result.timings_ms:
        measured.append(f"model {short(result.timings_ms['model'])} ms")
    recorded = frame.pts is not None and math.isfinite(frame.pts) and result.age_ms is None
    at = f"at {position(frame.pts or 0.0)}{_AFTER_POSITION}" if recorded else ""
    source = (at + printable(frame.source).strip()).strip()
    return [[said], [source] if source else [], [part for part in measured if part]]


def _write_row(picture: Image, row: list[str], box: Box, result: Result, layout: Layout) -> None:
    left, top, right, bottom = box
    baseline = top + round((bottom - top + CAP_HEIGHT * layout.small) / 2)
    if row[0].startswith(LEGEND):
        height, width = round(0.8 * layout.small), 4 * layout.small
        colours = palette(OPACITY.get(result.verdict.state, 0.0))[0]
        light = np.repeat(colours[np.linspace(0, 255, width).astype(int)][None], height, axis=0)
        scale = picture[baseline - height : baseline, left : left + width]
        scale[:] = 128
        blend(scale, light, np.repeat(255 - light[..., 2:], 3, axis=2))
        left, row = left + width + layout.pad, [row[0][1:]]
    while len(row) > 1 and text_width(" · ".join(row), layout.small) > right - left:
        row = row[:-1]
    text = fitted_text(" · ".join(row), layout.small, right - left)
    write(picture, text, left, baseline, layout.small, TEXT)


def fitted_text(text: str, size: int, width: int) -> str:
    """The text without what says least: the legend's title, the folders of a file, its middle."""
    if text_width(text, size) > width:
        text = text.removeprefix(_LEGEND_TITLE)
    if text_width(text, size) > width and "://" not in text:
        at, gap, path = text.rpartition(_AFTER_POSITION)
        text = f"{at}{gap}…/{path.rpartition('/')[2]}" if "/" in path else text
    return elided(text, size, width)


def _draw_bar(picture: Image, box: Box, result: Result, hud: Hud) -> None:
    """The score from 0 to 100 % in the colour of the verdict, and a mark at the threshold."""
    left, top, right, bottom = box
    picture[top:bottom, left:right] = _TRACK
    score = result.verdict.score
    if score is not None and math.isfinite(score):
        end = left + round(min(max(score, 0.0), 1.0) * (right - left))
        picture[top:bottom, left:end] = STATE_COLOURS[result.verdict.state]
    mark, half = left + round(hud.calibration.threshold * (right - left)), (bottom - top) // 4
    picture[top:bottom, max(left, mark - half - 1) : mark + half + 1] = INK
    picture[top:bottom, max(left, mark - half) : mark + half] = TEXT


def _texts(result: Result) -> tuple[str, str]:
    """The word and the score of a verdict, either perhaps empty."""
    return word_of(result), percent(result.verdict.score)


def draw_verdict(picture: Image, result: Result, layout: Layout) -> None:
    """Draw a verdict alone in the lower left corner: as large as fits, at last its mark alone."""
    height, width = picture.shape[:2]
    state, (word, score) = result.verdict.state, _texts(result)
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
    """Write onto a badge: mark and word at the left, "fake" and the score at the right."""
    (word, score), pad, side = texts, _pad(head), _side(head)
    middle = corner[1] + _verdict_height(head) // 2
    stamp(picture, icon(state, side, INK), corner[0] + pad, middle - side // 2)
    start, end = corner[0] + 2 * pad + side, corner[0] + width - pad
    if score:
        text, size = f"fake {score}", _number_size(head)
        end -= text_width(text, size)
        write(picture, text, end, middle + round(CAP_HEIGHT * head / 2), size, INK)
        end -= pad
    size = _fitting_size(word, head, end - start)
    write(picture, word, start, middle + round(CAP_HEIGHT * head / 2), size, INK, bold(size))


def _number_size(head: int) -> int:
    return max(min(head, _LEAST_AXIS), round(_NUMBER * head))


def _verdict_height(head: int) -> int:
    return round(1.5 * head)


def _pad(head: int) -> int:
    return round(0.32 * head)


def _side(head: int) -> int:
    """Of the mark."""
    return round(0.95 * head)


def _verdict_width(texts: tuple[str, str], head: int) -> int:
    word, score = texts
    widths = [_pad(head) + text_width(word, head, bold(head))] if word else []
    if score:
        widths.append(_pad(head) + text_width(f"fake {score}", _number_size(head)))
    return 2 * _pad(head) + _side(head) + sum(widths)


@lru_cache(maxsize=64)
def _largest_head(texts: tuple[str, str], head: int, room_hw: tuple[int, int]) -> int | None:
    """The largest font size up to `head` at which a badge fits; None if none does."""

    def fits(size: int) -> bool:
        return _verdict_height(size) <= room_hw[0] and _verdict_width(texts, size) <= room_hw[1]

    return next(filter(fits, range(head, _LEAST_HEAD - 1, -1)), None)


def _fitting_size(word: str, size: int, width: int) -> int:
    """The largest font size up to `size` at which a word is at most `width` pixels wide."""
    while size > 1 and text_width(word, size, bold(size)) > width:
        size -= 1
    return size


def _draw_chart(picture: Image, box: Box, hud: Hud, layout: Layout) -> None:
    """Draw the history: above the threshold in the colour of fake, below in that of real.

    The axis goes from 0 to 100; the threshold is dashed and labelled, and so is the time it covers.
    """
    left, top, right, bottom = box
    size, line, threshold = (
        max(_LEAST_AXIS, round(0.8 * layout.small)),
        layout.line,
        hud.calibration.threshold,
    )
    gutter = text_width("100", size) + layout.pad
    cap = round(CAP_HEIGHT * size)
    span_s = next((s for s in SPANS_S if hud.history[-1][0] - hud.history[0][0] <= s), SPANS_S[-1])
    label = f"score in %, last {span_s:.0f} s; dashed: threshold, {percent(threshold)}"
    if text_width(label, size) > right - left:
        label = label.replace("threshold, ", "")
    write(picture, elided(label, size, right - left), left, top + cap, size, FAINT_TEXT)
    left, top = left + gutter, top + round(1.6 * size)
    hw = (bottom - top, right - left)
    rule = (1 - threshold) * (hw[0] - 1)
    split = max(1, round(rule))
    for text, y in (("100", top + cap), ("0", bottom)):
        x = left - layout.pad // 2 - text_width(text, size)
        write(picture, text, x, y, size, FAINT_TEXT)
    ages, scores = _sampled(hud.history, hw[1], span_s)
    border = line + 1
    depth = hw[0] - 1 - 2 * border
    points = np.stack([(1 - ages) * (hw[1] - 1 - border), border + (1 - scores) * depth], axis=1)
    mask = np.zeros(hw, np.uint8)
    runs = _runs(points)
    cv2.polylines(mask, runs, False, 255, line + 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    if runs and hud.history[-1][1] is not None:
        newest, radius = runs[-1][-1].tolist(), (line + 1) * 2**_SUBPIXEL_BITS
        cv2.circle(mask, newest, radius, 255, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    stamp(picture, coloured(mask[:split], STATE_COLOURS["fake"]), left, top)
    stamp(picture, coloured(mask[split:], STATE_COLOURS["real"]), left, top + split)
    frame = np.zeros(hw, np.uint8)
    frame[[0, -1]] = frame[:, [0, -1]] = _FILL
    dashes = np.arange(hw[1]) % (6 * line) < 3 * line
    frame[split : split + max(1, line // 2), dashes] = _RULE
    stamp(picture, coloured(frame, FAINT_TEXT), left, top)


def _sampled(
    history: History, width: int, span_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Ages as parts of the chart's span, and scores with NaN for gaps; one per `_STEP` columns.

    The last of each bin of absolute time, so that the same frames are drawn while the line moves.
    """
    times, scores = np.array(history, np.float64).T  # None becomes NaN
    bins = times // (span_s * _STEP / width)
    kept = np.append(np.flatnonzero(np.diff(bins)), len(bins) - 1)
    kept = kept[times[-1] - times[kept] <= span_s]
    return (times[-1] - times[kept]) / span_s, np.clip(scores[kept], 0, 1)


def _runs(points: npt.NDArray[np.float64]) -> list[Points]:
    """The stretches without a gap, as fixed-point vertices [n, 2] (x, y)."""
    known = np.isfinite(points[:, 1])
    parts = np.split(points, np.flatnonzero(np.diff(known)) + 1)
    fixed = [part * 2**_SUBPIXEL_BITS for part in parts if np.isfinite(part).all()]
    return [np.rint(part).astype(np.int32) for part in fixed]
