"""Outlines of what the model saw, and labelled boxes around what it follows."""

from __future__ import annotations

import cv2

from edge.overlay.chip import score_text
from edge.overlay.geometry import grown, is_empty
from edge.overlay.plates import plate
from edge.overlay.sprites import Colour, stamp
from edge.overlay.style import INK, PAPER, STATE_COLOURS, STATE_WORDS, TEXT, Layout
from edge.overlay.text import CAP_HEIGHT, bold, text_width, write
from edge.types import Box, Image, Region, Result


def draw_boxes(picture: Image, result: Result, layout: Layout) -> None:
    """Outline regions, in place: those judged apart with a label, and a lone part of the frame.

    Tiles, which cover all of the frame, are not outlined.

    Args:
        picture: uint8 [H, W, 3] BGR.
        result: its regions.
        layout: sizes for this picture.
    """
    judged = [r for r in result.regions if r.verdict is not None or r.track is not None]
    for region in judged:
        _draw_labelled(picture, region, layout)
    if len(result.regions) == 1 and not judged:
        box = result.regions[0].xyxy
        if box != (0, 0, picture.shape[1], picture.shape[0]):
            _outline(picture, box, TEXT, layout.line)


def _draw_labelled(picture: Image, region: Region, layout: Layout) -> None:
    state = region.verdict.state if region.verdict is not None else "no_signal"
    colour = STATE_COLOURS[state]
    _outline(picture, region.xyxy, colour, layout.line)
    label = _label(region)
    size, pad = layout.small, round(0.4 * layout.small)
    height, width = round(1.5 * size), text_width(label, size, bold(size)) + 2 * pad
    left = max(0, min(region.xyxy[0], picture.shape[1] - width))
    top = region.xyxy[1] - height if region.xyxy[1] >= height else region.xyxy[1]
    stamp(picture, plate((height, width), colour), left, top)
    baseline = top + round((height + CAP_HEIGHT * size) / 2)
    write(picture, label, left + pad, baseline, size, INK, bold(size))


def _label(region: Region) -> str:
    parts = [] if region.track is None else [f"#{region.track}"]
    if region.verdict is not None:
        parts += [STATE_WORDS[region.verdict.state], score_text(region.verdict.score)]
    return " ".join(part for part in parts if part)


def _outline(picture: Image, box: Box, colour: Colour, line: int) -> None:
    """A line inside the box between two thin dark ones, so that it shows on any picture."""
    edge = max(1, line // 2)
    inks = [PAPER] * edge + [colour] * line + [PAPER] * edge
    for inset, ink in enumerate(inks):
        inner = grown(box, -inset)
        if not is_empty(inner):
            left, top, right, bottom = inner
            cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), ink, 1)
