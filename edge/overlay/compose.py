"""Draws a result onto a copy of its frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edge.overlay.boxes import draw_boxes
from edge.overlay.heat import Heat, heat_of, tint
from edge.overlay.hud import Hud
from edge.overlay.notices import draw_error, draw_no_signal, reason_of
from edge.overlay.panel import draw_panel
from edge.overlay.style import LEAST_SIDE, STATE_COLOURS, layout_for
from edge.overlay.tag import draw_tag, tag_height
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
    draw_evidence(picture, result, heat_of(result, hud) if heat is None else heat)
    draw_words(picture, result, hud)
    return picture


def draw_evidence(picture: Image, result: Result, heat: Iterable[Heat]) -> None:
    """Draw what belongs to places in the frame, in place: tint and boxes; nothing without signal.

    Args:
        picture: the frame, uint8 [H, W, 3] BGR.
        result: its regions.
        heat: the tint.
    """
    if result.verdict.state == "no_signal":
        return
    tint(picture, heat)
    if min(picture.shape[:2]) >= LEAST_SIDE:
        draw_boxes(picture, result, layout_for(*picture.shape[:2]))


def draw_words(picture: Image, result: Result, hud: Hud, tag: str = "") -> None:
    """Draw what is said of the frame as a whole, in place: a panel or a notice, and the lower edge.

    Args:
        picture: uint8 [H, W, 3] BGR, of the frame or larger.
        result: what to say.
        hud: history and rate.
        tag: printable text for the upper left corner; it stands in place of the source's name.
    """
    height, width = picture.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return
    layout = layout_for(height, width)
    top = tag_height(layout) if tag else 0
    if tag:
        unnamed = replace(result.frame, source="")
        result = replace(result, frame=unnamed, error=reason_of(result))
    if result.verdict.state == "no_signal":
        draw_no_signal(picture, result, layout, top)
    else:
        draw_panel(picture, result, hud, layout)
        draw_error(picture[top:], result.error or "", layout)
    draw_tag(picture, tag, layout)
    picture[height - layout.accent :] = STATE_COLOURS[result.verdict.state]
