"""What a run did, in figures."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from edge.types import Result, Verdict

TIMING_FRAMES = 10_000
"""Newest frames whose latencies the summary counts; bounds memory over months."""


@dataclass(slots=True)
class Summary:
    """What a run did.

    Attributes:
        frames: frames taken from the source.
        scored: frames that gave finite evidence.
        faceless: frames in which faces were looked for, and none found.
        states: how many frames ended in each verdict.
        errors: how many frames gave each error.
        skipped: failures that the source passed over: pictures, or all damage of a video together.
        damaged: frames of a video that were passed over because of damage.
        elapsed_s: wall time from the first frame on.
        latencies_ms: the newest latencies of each stage.
        ages_ms: from capture to verdict, of the newest live frames.
        last_verdict: the verdict after the last frame.
    """

    frames: int = 0
    scored: int = 0
    faceless: int = 0
    states: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    damaged: int = 0
    elapsed_s: float = 0.0
    latencies_ms: dict[str, deque[float]] = field(default_factory=dict)
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=TIMING_FRAMES))
    last_verdict: Verdict | None = None

    @property
    def fps(self) -> float:
        """End-to-end frames per second."""
        return self.frames / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def add(self, result: Result) -> None:
        """Count a result whose sinks have been served."""
        self.states[result.verdict.state] += 1
        self.last_verdict = result.verdict
        if result.verdict.state == "no_signal":
            return
        self.frames += 1
        if result.error is not None:
            self.errors[result.error] += 1
        elif result.faces == 0:
            self.faceless += 1
        else:
            self.scored += 1
        if result.age_ms is not None:
            self.ages_ms.append(result.age_ms)
        for stage, elapsed in result.timings_ms.items():
            self.latencies_ms.setdefault(stage, deque(maxlen=TIMING_FRAMES)).append(elapsed)
