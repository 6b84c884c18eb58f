"""From logits to a verdict that does not flicker.

Logits are averaged over a time window, calibrated to a score, and decided with hysteresis. `fake`
has its line at the threshold; `real` has its own at one half, or at the threshold where that is
lower, since a score that leans fake is no reason to say `real`. A state is entered a margin beyond
its line and left at the line, so that a score that hovers there ends in `uncertain` and never
alternates between `real` and `fake`.
"""

from __future__ import annotations

import math
from collections import deque

from pydantic import Field

from edge.manifest import Calibration
from edge.schema import Strict
from edge.types import State, Verdict

EVEN = 0.5
"""The score at which fake and real are equally likely."""


class VerdictSettings(Strict):
    """How much evidence a verdict needs."""

    window_s: float = Field(default=2.0, ge=0, description="Logits are averaged over this time.")
    min_evidence_s: float = Field(
        default=0.5, ge=0, description="Evidence must span this time before there is a verdict."
    )
    min_frames: int = Field(default=3, gt=0, description="Least number of scored frames, likewise.")
    margin: float = Field(
        default=0.05, ge=0, lt=0.5, description="Hysteresis: how far past its line a state begins."
    )


STILL = VerdictSettings(window_s=0.0, min_evidence_s=0.0, min_frames=1)
"""One picture is all the evidence there will ever be."""


class VerdictTracker:
    """Follows one source. Not thread-safe."""

    def __init__(self, calibration: Calibration, settings: VerdictSettings) -> None:
        self._calibration = calibration
        self._settings = settings
        self._logits: deque[tuple[float, float]] = deque()
        self._state: State = "no_signal"

    def update(self, time_s: float, logit: float) -> Verdict:
        """Add the logit of a frame; NaN and inf are no evidence and are left out.

        A step backwards in time discards the evidence (a clip that loops, a stream that restarts
        its clock).
        """
        if self._logits and time_s < self._logits[-1][0]:
            self._logits.clear()
        if math.isfinite(logit):
            self._logits.append((time_s, logit))
        while self._logits and self._logits[0][0] < time_s - self._settings.window_s:
            self._logits.popleft()
        return self._decide()

    def no_signal(self) -> Verdict:
        """No frame came; the evidence is discarded."""
        self._logits.clear()
        self._state = "no_signal"
        return Verdict("no_signal")

    def _decide(self) -> Verdict:
        if not self._logits:
            self._state = "uncertain"
            return Verdict("uncertain")
        mean = math.fsum(logit for _, logit in self._logits) / len(self._logits)
        score = self._calibration.score(mean)
        self._state = self._next_state(score) if self._has_enough() else "uncertain"
        return Verdict(self._state, score)

    def _has_enough(self) -> bool:
        span = self._logits[-1][0] - self._logits[0][0]
        return (
            len(self._logits) >= self._settings.min_frames and span >= self._settings.min_evidence_s
        )

    def _next_state(self, score: float) -> State:
        margin = self._settings.margin
        fake_line = self._calibration.threshold
        real_line = min(fake_line, EVEN)
        if score >= _entry(fake_line, 1.0, margin):
            return "fake"
        if score <= _entry(real_line, 0.0, margin):
            return "real"
        if self._state == "fake" and score >= fake_line:
            return "fake"
        if self._state == "real" and score <= real_line:
            return "real"
        return "uncertain"


def _entry(line: float, end: float, margin: float) -> float:
    # Near an end of the scale the margin shrinks, or a state could never be entered.
    return line + math.copysign(min(margin, abs(end - line) / 2), end - line)


def judge_once(calibration: Calibration, logit: float, margin: float = 0.0) -> Verdict:
    """The verdict on one picture, or on the mean logit of a whole file.

    A logit that is not finite gives `uncertain` without a score; scores closer than the margin to a
    state's line are `uncertain`.
    """
    settings = STILL.model_copy(update={"margin": margin})
    return VerdictTracker(calibration, settings).update(0.0, logit)
