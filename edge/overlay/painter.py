"""Draws the results of one source, with what they have in common: history, rate, heat map."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from functools import partial

from edge.manifest import Calibration, PatchGrid
from edge.overlay.compose import draw
from edge.overlay.heat import Heat, heat_of
from edge.overlay.hud import Hud
from edge.pixels import bgr_frame
from edge.types import Image, Picture, Result

HISTORY_S = 12.0
"""Length of the score history, seconds."""

RATE_FRAMES = 30
"""Frames over which the rate is averaged."""

HOLD_S = 1 / 8
"""How long a heat map is shown: a new one at every frame would flicker, and costs most of the time
that drawing takes."""


class Painter:
    """Draws the results of one source. One thread adds them; any thread may draw their pictures.

    Args:
        calibration: turns logits into scores.
        patches: where the model's patches lie; None for a model without.
    """

    def __init__(self, calibration: Calibration, patches: PatchGrid | None) -> None:
        self._calibration = calibration
        self._patches = patches
        self._history: deque[tuple[float, float | None]] = deque()
        self._finished: deque[float] = deque(maxlen=RATE_FRAMES)
        self._has_pts = False
        self._heat = HeatCache()
        self._drawing = threading.Lock()

    def picture(self, result: Result, heat_map: bool = True) -> Picture:
        """The picture of the newest result, which is counted and goes into the history.

        Args:
            result: of the source, in the order of its frames.
            heat_map: whether to draw the heat map.
        """
        self._add(result)
        hud = Hud(self._patches, self._calibration, tuple(self._history), self.fps, heat_map)
        return Picture(partial(self._paint, result, hud), hud)

    def reset(self) -> None:
        """Forget the history: what comes next has nothing to do with it."""
        self._history.clear()

    @property
    def fps(self) -> float | None:
        """Frames per second lately; None while unknown."""
        if len(self._finished) < 2:
            return None
        return (len(self._finished) - 1) / max(self._finished[-1] - self._finished[0], 1e-9)

    def _add(self, result: Result) -> None:
        if result.verdict.state != "no_signal":
            self._has_pts = result.frame.pts is not None
            self._finished.append(time.perf_counter())
        else:
            self._finished.clear()
            if self._has_pts:  # a placeholder's time is on another clock
                return
        now_s = result.frame.time_s
        if self._history and now_s < self._history[-1][0]:
            self._history.clear()
        self._history.append((now_s, result.verdict.score))
        while self._history[0][0] < now_s - HISTORY_S:
            self._history.popleft()

    def _paint(self, result: Result, hud: Hud) -> Image:
        result = replace(result, frame=bgr_frame(result.frame))
        with self._drawing:
            return draw(result, hud, self._heat.of(result, hud))


class HeatCache:
    """Holds the heat map of one source for a moment. Not thread-safe."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._since_s = 0.0
        self._heat: tuple[Heat, ...] = ()

    def of(self, result: Result, hud: Hud) -> tuple[Heat, ...]:
        """The tint of a frame, which may be up to `HOLD_S` old by the clock of the frames."""
        if result.verdict.state == "no_signal":
            return ()
        frame = result.frame
        places = tuple((region.xyxy, region.input_hw) for region in result.regions)
        key = (frame.source, frame.image.shape, places, hud.patches, hud.heat_map)
        age_s = frame.time_s - self._since_s
        if key != self._key or not 0 <= age_s < HOLD_S:
            heats = [Heat(tuple(heat.strips), heat.outlined) for heat in heat_of(result, hud)]
            self._key, self._since_s, self._heat = key, frame.time_s, tuple(heats)
        return self._heat
