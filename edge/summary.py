"""What a run did, in figures."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from edge.decision.recording import RecordingJudge
from edge.pace import LONGEST_GAP_S
from edge.types import Result, State, Verdict
from edge.words import fake_parts, has_no_face, is_blank

TIMING_FRAMES = 10_000
"""Newest frames whose latencies the summary counts; bounds memory over months."""


@dataclass(slots=True)
class Summary:
    """What a run did.

    Attributes:
        frames: frames taken from the source.
        scored: frames that gave finite evidence.
        unchanged: of them, those whose picture had not changed, so that the model was not asked.
        blank: of them, those with nothing to see.
        faceless: frames that nothing but faces was to be judged in, and held none.
        states: how many frames ended in each verdict.
        reasons: how many frames were fake for each kind of reason.
        errors: how many frames gave each error.
        skipped: failures that the source passed over: pictures, or all damage of a video together.
        damaged: frames of a video that were passed over because of damage.
        late: frames of a video that were skipped to show it at its own speed.
        elapsed_s: wall time from the first frame on.
        latencies_ms: the newest latencies of each stage.
        ages_ms: from capture to verdict, of the newest live frames.
        last_verdict: the verdict after the last frame.
        state_s: for how many seconds each verdict held, up to the last result.
        recording: judges all of it; None of live sources and of pictures.
        highest: of pictures, those that score highest: score and source, the highest first.
    """

    frames: int = 0
    scored: int = 0
    unchanged: int = 0
    blank: int = 0
    faceless: int = 0
    states: Counter[State] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    damaged: int = 0
    late: int = 0
    elapsed_s: float = 0.0
    latencies_ms: dict[str, deque[float]] = field(default_factory=dict)
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=TIMING_FRAMES))
    last_verdict: Verdict | None = None
    state_s: dict[State, float] = field(default_factory=dict)
    recording: RecordingJudge | None = None
    highest: list[tuple[float, str]] = field(default_factory=list)
    _last_s: float | None = None

    @property
    def fps(self) -> float:
        """End-to-end frames per second."""
        return self.frames / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def add(self, result: Result) -> None:
        """Count a result whose sinks have been served."""
        state, frame = result.verdict.state, result.frame
        if self.last_verdict is not None and self._last_s is not None:
            lasted_s = frame.captured_at - self._last_s
            held_s = self.state_s.get(self.last_verdict.state, 0.0)
            held_s += lasted_s if 0 < lasted_s < LONGEST_GAP_S else 0.0
            self.state_s[self.last_verdict.state] = held_s
        self._last_s = frame.captured_at
        self.states[state] += 1
        self.last_verdict = result.verdict
        if self.recording is not None:
            self.recording.add(frame.time_s, result.verdict)
        elif frame.pts is None and result.verdict.score is not None:
            self.highest = sorted((*self.highest, (result.verdict.score, frame.source)))[-3:][::-1]
        self.reasons.update(fake_parts(result))
        if state == "no_signal":
            return
        self.frames += 1
        if result.error is not None:
            self.errors[result.error] += 1
        elif has_no_face(result):
            self.faceless += 1
        else:
            self.scored += 1
            self.unchanged += result.unchanged
            self.blank += is_blank(result)
        if result.age_ms is not None:
            self.ages_ms.append(result.age_ms)
        for stage, elapsed in result.timings_ms.items():
            self.latencies_ms.setdefault(stage, deque(maxlen=TIMING_FRAMES)).append(elapsed)
