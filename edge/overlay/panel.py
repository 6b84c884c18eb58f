"""The panel in the corner: verdict, score, history, source, rate and latency."""

from __future__ import annotations

import math

from edge.overlay.chart import draw_chart
from edge.overlay.chip import chip_height, draw_chip, draw_wording, wording
from edge.overlay.hud import Hud
from edge.overlay.plates import plate
from edge.overlay.sprites import Colour, stamp
from edge.overlay.style import FAINT_TEXT, PAPER, PAPER_OPACITY, STATE_COLOURS, TEXT, Layout
from edge.overlay.text import CAP_HEIGHT, elided, printable, write
from edge.types import Image, Result

_MOST_OF_HEIGHT = 0.45
_MOST_OF_WIDTH = 0.6

Row = tuple[str, Colour]


def draw_panel(picture: Image, result: Result, hud: Hud, layout: Layout) -> None:
    """Draw the panel in the lower left corner, in place; on a small frame the verdict alone.

    Args:
        picture: uint8 [H, W, 3] BGR.
        result: what it says.
        hud: history and rate.
        layout: sizes for this picture.
    """
    height, width = picture.shape[:2]
    rows = _rows(result, hud)
    chart = layout.chart_height + layout.pad if len(hud.history) > 1 else 0
    body = 2 * layout.pad + chart + len(rows) * layout.row_height
    chip = chip_height(layout.head)
    if chip + body > _MOST_OF_HEIGHT * height or layout.panel_width > _MOST_OF_WIDTH * width:
        draw_chip(picture, result.verdict, layout, result.faces == 0)
        return
    x, y = layout.margin, height - layout.accent - layout.margin - chip - body
    _draw_card(picture, x, y, body, STATE_COLOURS[result.verdict.state], layout)
    said = wording(result.verdict, result.faces == 0)
    draw_wording(picture, said, (x, y), layout.panel_width, layout.head)
    left, right = x + layout.pad, x + layout.panel_width - layout.pad
    y += chip + layout.pad
    if chart:
        box = (left, y, right, y + layout.chart_height)
        draw_chart(picture, box, hud.history, hud.calibration.threshold, layout.line)
    _draw_rows(picture, left, y + chart, right - left, rows, layout)


def _rows(result: Result, hud: Hud) -> list[Row]:
    faces = result.faces
    measured = [f"{faces} {'face' if faces == 1 else 'faces'}"] if faces else []
    if hud.fps is not None and math.isfinite(hud.fps):
        measured.append(f"{_short(hud.fps)} fps")
    if "model" in result.timings_ms:
        measured.append(f"model {_short(result.timings_ms['model'])} ms")
    rows = [(printable(result.frame.source), TEXT), (" · ".join(measured), FAINT_TEXT)]
    return [row for row in rows if row[0].strip()]


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _draw_card(picture: Image, x: int, y: int, body: int, colour: Colour, layout: Layout) -> None:
    width, chip = layout.panel_width, chip_height(layout.head)
    stamp(picture, plate((chip, width), colour, top_radius=layout.radius), x, y)
    paper = plate((body, width), PAPER, PAPER_OPACITY, bottom_radius=layout.radius)
    stamp(picture, paper, x, y + chip)


def _draw_rows(picture: Image, x: int, y: int, width: int, rows: list[Row], layout: Layout) -> None:
    size, drop = layout.small, round((layout.row_height + CAP_HEIGHT * layout.small) / 2)
    for number, (text, colour) in enumerate(rows):
        baseline = y + number * layout.row_height + drop
        write(picture, elided(text, size, width), x, baseline, size, colour)
