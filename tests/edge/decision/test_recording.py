from __future__ import annotations

import pytest

from edge.decision.recording import RecordingJudge
from edge.decision.verdict import VerdictSettings
from edge.types import State, Verdict


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("uncertain", 0.55), ("fake", 0.9)], "fake"),  # short, from the first verdict on
        ([("real", 3.0)], "real"),
        ([("real", 2.0), ("uncertain", 0.5)], "real"),
        ([("real", 2.0), ("uncertain", 1.5)], "uncertain"),
        ([("real", 2.0), ("fake", 1.5)], "fake"),
        ([("real", 2.0), ("uncertain", 0.6), ("fake", 0.6), ("real", 2.0)], "uncertain"),
        # Never long enough of one kind, and not real for most of it.
        ([("uncertain", 0.9), ("real", 0.1), ("uncertain", 0.9), ("real", 0.1)], "uncertain"),
    ],
)
def test_a_recording_is_as_its_worst_stretch(
    parts: list[tuple[State, float]], expected: State
) -> None:
    judge, now = RecordingJudge(VerdictSettings()), 0.0
    for state, seconds in parts:
        for _ in range(round(20 * seconds)):
            judge.add(now, Verdict(state, {"real": 0.2, "uncertain": 0.6, "fake": 0.9}[state]))
            now += 0.05
    judged = judge.judge()
    assert judged is not None and judged.verdict == expected
    assert judged.score == {"real": 0.2, "uncertain": 0.6, "fake": 0.9}[expected]
    assert judged.worst.begin_s >= 0.0


def test_what_comes_before_there_is_enough_evidence_decides_nothing() -> None:
    judge = RecordingJudge(VerdictSettings(min_frames=3, min_evidence_s=0.5))
    for second, state in enumerate[State](("uncertain", "uncertain", "real")):
        judge.add(float(second), Verdict(state, 0.3))
    judged = judge.judge()
    assert judged is not None and judged.verdict == "real"
