"""Outlines of what the model saw, and labelled boxes around what it follows."""

from __future__ import annotations

import cv2

from edge.overlay.geometry import grown, is_empty
from edge.overlay.labels import draw_labels
from edge.overlay.sprites import Colour
from edge.overlay.style import PAPER, STATE_COLOURS, TEXT, Layout
from edge.types import Box, Image, Result


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
        state = region.verdict.state if region.verdict is not None else "no_signal"
        _outline(picture, region.xyxy, STATE_COLOURS[state], layout.line)
    draw_labels(picture, judged, layout)
    if len(result.regions) == 1 and not judged:
        box = result.regions[0].xyxy
        if box != (0, 0, picture.shape[1], picture.shape[0]):
            _outline(picture, box, TEXT, layout.line)


def _outline(picture: Image, box: Box, colour: Colour, line: int) -> None:
    """A line inside the box between two thin dark ones, so that it shows on any picture."""
    edge = max(1, line // 2)
    inks = [PAPER] * edge + [colour] * line + [PAPER] * edge
    for inset, ink in enumerate(inks):
        inner = grown(box, -inset)
        if not is_empty(inner):
            left, top, right, bottom = inner
            cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), ink, 1)
