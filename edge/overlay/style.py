"""Colours and sizes of the overlay, and what it shows besides a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


@dataclass(frozen=True, slots=True, eq=False)
class Hud:
    """What a picture shows besides its result.

    Attributes:
        patches: where the patches lie; None for a model without patches, which has no heat map.
        calibration: turns logits into scores.
        history: (time in seconds, score in 0..1 or None where there was none), oldest first.
        fps: end-to-end frames per second; None while unknown.
        heat_map: whether to draw the heat map.
    """

    patches: PatchGrid | None
    calibration: Calibration
    history: Sequence[tuple[float, float | None]] = ()
    fps: float | None = None
    heat_map: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in pixels for one frame size.

    Attributes:
        margin: between the panel and the frame's edges.
        head: font size of the verdict.
        small: font size of everything else.
        accent: thickness of the bar at the frame's edge.
        line: thickness of lines.
    """

    margin: int
    head: int
    small: int
    accent: int
    line: int

    @property
    def panel_width(self) -> int:
        """Width of the panel."""
        return round(8 * self.head)

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
    return Layout(
        margin=max(2, round(0.025 * short)),
        head=max(18, round(0.062 * short)),
        small=max(11, round(0.024 * short)),
        accent=max(2, round(0.011 * short)),
        line=max(1, round(0.0024 * short)),
    )
