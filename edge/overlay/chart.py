"""The score history as a line over the last seconds."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.overlay.sprites import Mask, coloured, stamp
from edge.overlay.style import FAINT_TEXT, STATE_COLOURS
from edge.types import Box, Image

LEAST_SPAN_S = 10.0
"""Seconds that the chart covers at least; a shorter history grows in from the right."""

_FILL = 80
_RULE = 150
_STEP = 6
"""Columns of pixels to a vertex of the line, about."""

_SUBPIXEL_BITS = 4

History = Sequence[tuple[float, float | None]]
Points = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def draw_chart(picture: Image, box: Box, history: History, threshold: float, line: int) -> None:
    """Draw a history, in place: above the threshold in the colour of fake, below in that of real.

    Args:
        picture: uint8 [H, W, 3] BGR.
        box: where, in pixels of the picture.
        history: (time in seconds, score in 0..1 or None), oldest first, at least one; None makes
            a gap.
        threshold: score at which the dashed line lies.
        line: thickness in pixels.
    """
    left, top, right, bottom = box
    plot = _Plot(bottom - top, right - left, 2 * line + 1)
    rule = float(plot.rows(np.array(threshold)))
    mask = np.zeros((plot.height, plot.width), np.uint8)
    runs = _runs(history, plot)
    for run in runs:
        _fill_to(mask, run, rule)
    mask[round(rule)] = 0
    stamp(picture, coloured(_dashes(plot, rule, line), FAINT_TEXT), left, top)
    for run in runs:
        cv2.polylines(mask, [run], False, 255, line, cv2.LINE_AA, _SUBPIXEL_BITS)
    if runs and history[-1][1] is not None:
        radius = round(max(2.0, 1.6 * line) * 2**_SUBPIXEL_BITS)
        newest = runs[-1][-1].tolist()
        cv2.circle(mask, newest, radius, 255, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    split = round(rule)
    stamp(picture, coloured(mask[:split], STATE_COLOURS["fake"]), left, top)
    stamp(picture, coloured(mask[split:], STATE_COLOURS["real"]), left, top + split)


class _Plot:
    """From times and scores to pixels; the border keeps the line's thickness inside."""

    def __init__(self, height: int, width: int, border: int) -> None:
        self.height, self.width, self._border = height, width, border

    def rows(self, scores: Floats) -> Floats:
        return self._border + (1 - scores) * (self.height - 1 - 2 * self._border)

    def columns(self, ages: Floats) -> Floats:
        """Ages as parts of the chart's span."""
        return (1 - ages) * (self.width - 1 - self._border)


def _runs(history: History, plot: _Plot) -> list[Points]:
    """The stretches without a gap, as fixed-point vertices [n, 2] (x, y)."""
    pairs = np.array(history, np.float64)  # None becomes NaN
    times, scores = pairs.T
    span = max(LEAST_SPAN_S, times[-1] - times[0])
    kept = _last_of_each(times // (span * _STEP / plot.width))
    times, scores = times[kept], np.clip(scores[kept], 0, 1)
    points = np.stack([plot.columns((times[-1] - times) / span), plot.rows(scores)], axis=1)
    known = np.isfinite(scores)
    parts = np.split(points, np.flatnonzero(np.diff(known)) + 1)
    return [
        np.rint(part * 2**_SUBPIXEL_BITS).astype(np.int32)
        for part in parts
        if np.isfinite(part).all()
    ]


def _last_of_each(bins: Floats) -> npt.NDArray[np.intp]:
    """Where the last of each stretch of equal values lies.

    Bins of absolute time, so that the same frames are drawn while the line moves along.
    """
    return np.append(np.flatnonzero(np.diff(bins)), len(bins) - 1)


def _fill_to(mask: Mask, run: Points, rule: float) -> None:
    level = round(rule * 2**_SUBPIXEL_BITS)
    foot = np.array([(run[-1, 0], level), (run[0, 0], level)], np.int32)
    area = np.concatenate([run, foot])
    cv2.fillPoly(mask, [area], _FILL, cv2.LINE_8, _SUBPIXEL_BITS)


def _dashes(plot: _Plot, rule: float, line: int) -> Mask:
    mask = np.zeros((plot.height, plot.width), np.uint8)
    thickness = max(1, line // 2)
    top = round(rule - thickness / 2)
    period = 6 * line
    dashed = np.arange(plot.width) % period < period / 2
    mask[top : top + thickness] = np.where(dashed, _RULE, 0)
    return mask
