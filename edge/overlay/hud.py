"""What the picture shows besides the result itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.manifest import Calibration, PatchGrid


@dataclass(frozen=True, slots=True, eq=False)
class Hud:
    """What the picture shows besides the result itself.

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
