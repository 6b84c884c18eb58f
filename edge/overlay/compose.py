"""Draws a result onto a copy of its frame."""

from __future__ import annotations

from collections.abc import Iterable

from edge.overlay.boxes import draw_boxes
from edge.overlay.heat import Heat, heat_of, tint
from edge.overlay.hud import Hud
from edge.overlay.notices import draw_error, draw_no_signal
from edge.overlay.panel import draw_panel
from edge.overlay.style import LEAST_SIDE, STATE_COLOURS, layout_for
from edge.types import Image, Result


def draw(result: Result, hud: Hud, heat: Iterable[Heat] | None = None) -> Image:
    """Draw what is known about a frame: verdict, score, history, heat map, source and speed.

    The frame is not changed, and equal arguments give equal pictures. The smaller the frame, the
    less is written on it; one with a side under 16 pixels is only tinted.

    Args:
        result: the frame and all that is known about it.
        hud: what the picture shows besides.
        heat: a tint made before, of a frame of the same size; the frame's own if None.

    Returns:
        A new picture of the frame's size, uint8 [H, W, 3] BGR.
    """
    picture = result.frame.image.copy()
    height, width = picture.shape[:2]
    layout = layout_for(height, width)
    if result.verdict.state != "no_signal":
        tint(picture, heat_of(result, hud) if heat is None else heat)
    if min(height, width) < LEAST_SIDE:
        return picture
    if result.verdict.state == "no_signal":
        draw_no_signal(picture, result, layout)
    else:
        draw_boxes(picture, result, layout)
        draw_panel(picture, result, hud, layout)
    if result.error:
        draw_error(picture, result.error, layout)
    picture[height - layout.accent :] = STATE_COLOURS[result.verdict.state]
    return picture
