"""Colours and sizes of the overlay, and what it shows besides a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.manifest import Calibration, PatchGrid
from edge.types import State

Colour = tuple[int, int, int]
"""BGR, 0..255 each."""

STATE_COLOURS: dict[State, Colour] = {
    "fake": (48, 96, 255),
    "real": (182, 204, 28),
    "uncertain": (48, 190, 255),
    "no_signal": (148, 138, 130),
}
"""Vermilion and blue-green stay apart under every common colour blindness; amber differs from both
in lightness as well, and grey from blue-green. Each carries `INK` at a contrast above 5:1."""

INK: Colour = (20, 14, 10)
"""Text on a verdict's colour."""

PAPER: Colour = (20, 15, 12)
PAPER_OPACITY = 0.84
"""The panel behind text. At this opacity `TEXT` keeps a contrast above 4.5:1 on white."""

TEXT: Colour = (240, 238, 236)
FAINT_TEXT: Colour = (216, 212, 208)

LEAST_SIDE = 16
"""Frames with a shorter side in pixels are left as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Hud:
    """What a picture shows besides its result.

    Attributes:
        patches: where the patches lie; None for a model without patches, which has no heat map.
        calibration: turns logits into scores.
        history: (time in seconds, score in 0..1 or None where there was none), oldest first.
        fps: end-to-end frames per second; None while unknown.
        heat_map: whether to draw the heat map.
        held_s: for how long the verdict has been this; None while unknown.
        declared: what the file says of itself, in a line; empty where it says nothing.
    """

    patches: PatchGrid | None
    calibration: Calibration
    history: Sequence[tuple[float, float | None]] = ()
    fps: float | None = None
    heat_map: bool = True
    held_s: float | None = None
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in pixels for one frame size; `head` and `small` are those of the two fonts."""

    margin: int
    head: int
    small: int
    accent: int  # thickness of the bar at the frame's edge
    line: int
    panel_width: int
    pad: int
    chart_height: int
    bar_height: int
    row_height: int
    radius: int


def layout_for(height: int, width: int) -> Layout:
    """Sizes for a frame of height × width pixels; everything follows its short side."""
    short = min(height, width)
    head, small = max(18, round(0.062 * short)), max(11, round(0.024 * short))
    return Layout(
        margin=max(2, round(0.025 * short)),
        head=head,
        small=small,
        accent=max(2, round(0.011 * short)),
        line=max(1, round(0.0024 * short)),
        panel_width=round(9 * head),
        pad=round(0.32 * head),
        chart_height=round(2.2 * head),
        bar_height=max(4, round(0.2 * head)),
        row_height=round(1.4 * small),
        radius=round(0.16 * head),
    )
