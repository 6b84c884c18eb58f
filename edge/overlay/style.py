"""Colours and sizes of the overlay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from edge.overlay.sprites import Colour
from edge.types import State

STATE_COLOURS: dict[State, Colour] = {
    "fake": (48, 96, 255),
    "real": (182, 204, 28),
    "uncertain": (48, 190, 255),
    "no_signal": (148, 138, 130),
}
"""BGR. Vermilion and blue-green stay apart under every common colour blindness; amber differs from
both in lightness as well, and grey from blue-green. Each carries `INK` at a contrast above 5:1."""

STATE_WORDS: dict[State, str] = {
    "fake": "FAKE",
    "real": "REAL",
    "uncertain": "UNCERTAIN",
    "no_signal": "NO SIGNAL",
}

INK: Colour = (20, 14, 10)
"""Text on a verdict's colour."""

PAPER: Colour = (20, 15, 12)
PAPER_OPACITY = 0.84
"""The panel behind text. At this opacity `TEXT` keeps a contrast above 4.5:1 on white."""

TEXT: Colour = (240, 238, 236)
FAINT_TEXT: Colour = (216, 212, 208)

LEAST_SIDE = 16
"""Frames with a shorter side in pixels are left as they are."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in pixels for one frame size.

    Attributes:
        margin: between the panel and the frame's edges.
        head: font size of the verdict.
        small: font size of everything else.
        panel_width: of the panel.
        accent: thickness of the bar at the frame's edge.
        line: thickness of lines.
    """

    margin: int
    head: int
    small: int
    panel_width: int
    accent: int
    line: int

    @property
    def pad(self) -> int:
        """Between the panel's edge and what is in it."""
        return round(0.32 * self.head)

    @property
    def chart_height(self) -> int:
        """Height of the score history."""
        return round(0.95 * self.head)

    @property
    def row_height(self) -> int:
        """Height of a row of small text."""
        return round(1.4 * self.small)

    @property
    def radius(self) -> int:
        """Of the panel's corners."""
        return round(0.16 * self.head)


@lru_cache(maxsize=16)
def layout_for(height: int, width: int) -> Layout:
    """Sizes for a frame of height × width pixels; everything follows its short side."""
    short = min(height, width)
    head = max(18, round(0.062 * short))
    return Layout(
        margin=max(2, round(0.025 * short)),
        head=head,
        small=max(11, round(0.024 * short)),
        panel_width=round(8 * head),
        accent=max(2, round(0.011 * short)),
        line=max(1, round(0.0024 * short)),
    )
