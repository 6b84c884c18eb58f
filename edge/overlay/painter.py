"""Draws frame after frame, and holds the heat map for a moment."""

from __future__ import annotations

from edge.overlay.compose import draw
from edge.overlay.heat import Heat, heat_of
from edge.overlay.hud import Hud
from edge.types import Image, Result

HOLD_S = 1 / 8
"""How long a heat map is shown: a new one at every frame would flicker, and costs most of the time
that drawing takes."""


class Painter:
    """Draws the overlays of one source, in the order of its frames. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: tuple[object, ...] | None = None
        self._since_s = 0.0
        self._heat: tuple[Heat, ...] = ()

    def paint(self, result: Result, hud: Hud) -> Image:
        """As `draw`, with a heat map that may be up to `HOLD_S` old by the clock of the frames."""
        if result.verdict.state == "no_signal":
            return draw(result, hud)
        return draw(result, hud, self.heat(result, hud))

    def heat(self, result: Result, hud: Hud) -> tuple[Heat, ...]:
        """The tint of a frame, which may be up to `HOLD_S` old by the clock of the frames."""
        frame = result.frame
        places = tuple((region.xyxy, region.input_hw) for region in result.regions)
        seen = (frame.source, frame.image.shape, places, hud.patches, hud.heat_map)
        age_s = frame.time_s - self._since_s
        if seen != self._seen or not 0 <= age_s < HOLD_S:
            heats = [Heat(tuple(heat.strips), heat.outlined) for heat in heat_of(result, hud)]
            self._seen, self._since_s, self._heat = seen, frame.time_s, tuple(heats)
        return self._heat
