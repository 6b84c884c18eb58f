"""From logits to a verdict that does not flicker.

Logits are averaged over a time window, calibrated to a score, and decided with hysteresis. Where
frames come so rarely that the window holds too few, it stretches, within a bound. `fake`
has its line at the threshold; `real` has its own at one half, or at the threshold where that is
lower, since a score that leans fake is no reason to say `real`. A state is entered a margin beyond
its line and left at the line, so that a score that hovers there ends in `uncertain` and never
alternates between `real` and `fake`. A picture alone cannot flicker, and has no margin.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated

from pydantic import Field

from edge.manifest import Calibration
from edge.schema import Flag, Strict
from edge.types import State, Verdict

JUST_ABOVE = "just above the threshold"

EVEN = 0.5
"""The score at which fake and real are equally likely."""


class VerdictSettings(Strict):
    """How much evidence a verdict needs."""

    window_s: float = Field(default=2.0, ge=0, description="Logits are averaged over this time.")
    min_evidence_s: float = Field(
        default=0.5, ge=0, description="Evidence must span this time before there is a verdict."
    )
    min_frames: int = Field(default=3, gt=0, description="Least number of scored frames, likewise.")
    longest_window_s: float = Field(
        default=30.0, ge=0, description="To how long the window may stretch for so many frames."
    )
    margin: float = Field(
        default=0.05, ge=0, lt=0.5, description="Hysteresis: how far past its line a state begins."
    )
    threshold: Annotated[float | None, Flag("--threshold", "T")] = Field(
        default=None,
        gt=0,
        lt=1,
        description="Scores above it are called fake, 0..1; over time those verdict.margin above "
        "it (default: the model's).",
    )

    def calibration(self, model: Calibration) -> Calibration:
        """A model's calibration, with this threshold where there is one."""
        if self.threshold is None:
            return model
        return model.model_copy(update={"threshold": self.threshold})

    def for_recording(self, length: int | None, fps: float | None) -> VerdictSettings:
        """The same for a recording, of which one too short is judged by all that it has.

        Args:
            length: in frames; None where unknown, as is `fps`.
        """
        if not length or not fps:
            return self
        span_s = 0.99 * (length - 1) / fps  # a little less, as times are rounded
        return self.model_copy(
            update={
                "min_frames": min(self.min_frames, length),
                "min_evidence_s": min(self.min_evidence_s, span_s),
            }
        )


STILL = VerdictSettings(
    window_s=0.0, min_evidence_s=0.0, min_frames=1, longest_window_s=0.0, margin=0.0
)
"""One picture is all the evidence there will ever be."""


class VerdictTracker:
    """Follows one source. Not thread-safe."""

    def __init__(self, calibration: Calibration, settings: VerdictSettings) -> None:
        self._calibration = calibration
        self._settings = settings
        self._frames: deque[tuple[float, float]] = deque()  # time and logit, which may be NaN
        self._state: State = "uncertain"
        self.has_enough = False

    def update(self, time_s: float, logit: float) -> Verdict:
        """Add the logit of a frame; NaN and inf are no evidence, though the frame counts as one.

        A step backwards in time discards the evidence (a clip that loops, a stream that restarts
        its clock). `has_enough` says whether there is enough for a verdict.
        """
        if self._frames and time_s < self._frames[-1][0]:
            self._frames.clear()
        self._frames.append((time_s, logit))
        while self._is_too_old(time_s):
            self._frames.popleft()
        evidence = [(at, value) for at, value in self._frames if math.isfinite(value)]
        self.has_enough = (
            len(evidence) >= self._settings.min_frames
            and evidence[-1][0] - evidence[0][0] >= self._settings.min_evidence_s
        )
        if not evidence:
            self._state = "uncertain"
            return Verdict("uncertain")
        score = self._calibration.score(math.fsum(value for _, value in evidence) / len(evidence))
        self._state = self._next_state(score) if self.has_enough else "uncertain"
        above = self.has_enough and score >= self._calibration.threshold
        reason = JUST_ABOVE if above and self._state == "uncertain" else None
        return Verdict(self._state, score, reason)

    def _is_too_old(self, now_s: float) -> bool:
        """Whether the oldest frame is outside the window, and not needed for a verdict."""
        settings, age_s = self._settings, now_s - self._frames[0][0]
        if age_s <= settings.window_s:
            return False
        if age_s > settings.longest_window_s or len(self._frames) <= 1:
            return age_s > settings.longest_window_s
        next_span_s = now_s - self._frames[1][0]
        return len(self._frames) > settings.min_frames and next_span_s >= settings.min_evidence_s

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
