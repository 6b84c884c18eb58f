from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.end_to_end.clips import Size
from benchmarks.end_to_end.report import render
from benchmarks.end_to_end.section import Effort, EndToEndSection, fit_frames, run_rounds
from benchmarks.section import Plan, Section
from edge.errors import ModelError
from edge.weights import DEFAULT, TINY

PLAN = Plan(quick=True, threads=(1,), budget_s={"end_to_end": 4.0})
SMALL = Size("small", 96, 400)
EFFORT = Effort(
    sizes=(SMALL,), frames=(6, 6), rounds=(1, 1), starts=1, watched_s=0.5, live=(SMALL,)
)


class _Counted:
    """Stands for rounds that take no time."""

    def __init__(self) -> None:
        self.count = 0

    def run(self) -> list[str]:
        self.count += 1
        return [f"round {self.count}"]


def test_everything_is_measured_and_rendered() -> None:
    section: Section = EndToEndSection(effort=EFFORT)
    ticks: list[str] = []
    section.measure(PLAN, ticks.append)
    rows = json.loads(json.dumps(section.rows()))
    assert not [row for row in rows if "missing" in row]
    parts = [row["part"] for row in rows]
    assert parts == ["rate"] * 9 + ["start", "glass", "memory", "cpu"]
    models = [(row.get("model"), row.get("region")) for row in rows]
    assert models == [
        (None, None),
        *[(DEFAULT, "center:512")] * 4,
        *[(TINY, "native")] * 4,
        *[(DEFAULT, "center:512")] * 4,
    ]
    assert len(ticks) == section.steps(PLAN)
    found = {row["part"]: row for row in rows}
    assert found["glass"]["unreadable_frames"] == 0
    assert 0 < found["glass"]["latency_p50_ms"] <= found["glass"]["latency_max_ms"]
    assert found["start"]["ratio"] > 1
    assert 30 < found["memory"]["peak_mb"] < 2000
    assert 0 < found["cpu"]["share"] < 1.1
    assert found["cpu"]["frames"] == 15
    assert "Glass to verdict" in render(rows).markdown


def test_an_interrupt_leaves_rows() -> None:
    section = EndToEndSection(effort=EFFORT)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(PLAN, interrupt)
    assert [row["candidate"] for row in section.rows()] == ["decode alone"]
    assert render(section.rows()).markdown


def test_before_it_was_measured_there_is_nothing() -> None:
    section = EndToEndSection()
    assert section.rows() == []
    assert render(section.rows()).markdown == ""


def test_an_absent_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=DEFAULT):
        EndToEndSection(model=str(tmp_path / "none.onnx")).measure(PLAN, lambda _: None)


def test_clips_are_as_long_as_time_allows() -> None:
    effort = Effort(frames=(60, 150), wanted=6)
    # 90 s: six rounds of 15 s; a frame of all candidates takes 6 × 25 ms.
    assert fit_frames(0.025, 90.0, effort) == 100
    assert fit_frames(5.0, 90.0, effort) == 60
    assert fit_frames(0.0001, 90.0, effort) == 150


@pytest.mark.parametrize(("deadline", "expected"), [(0.0, 2), (float("inf"), 5)])
def test_rounds_end_with_the_time_but_not_below_the_fewest(deadline: float, expected: int) -> None:
    rounds = _Counted()
    told: list[str] = []
    run_rounds(rounds.run, (2, 5), deadline, told.append)
    assert rounds.count == expected
    assert told == [f"round {number}" for number in range(1, expected + 1)]
