"""End to end: rates, processes, a small run, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import end_to_end
from benchmarks.end_to_end import EndToEndSection, bound_ratio, other_share, render
from benchmarks.film import HD, Size, write_clip
from benchmarks.processes import run_python
from benchmarks.rates import CANDIDATES, DECODE, MODEL, Rate, decode
from benchmarks.section import Plan, Row
from edge.detector import Detector
from edge.errors import PatchwatchError
from edge.regions import parse_region
from tests.fakes import FakeBackend

TINY = Size("tiny", 64, 96)


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_every_candidate_is_measured_on_a_whole_clip(tmp_path: Path, candidate: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", TINY, 12)
    detector = Detector(FakeBackend(), parse_region("native"))
    held = decode(clip, 4)
    assert len(held) == 4
    rate = Rate(clip, TINY, candidate, None if candidate == DECODE else detector, held, 12)
    for _ in range(2):
        assert f"tiny, {candidate}: " in rate.run()
    row = json.loads(json.dumps(rate.row()))
    assert len(row["rounds_fps"]) == 2 and row["fps"] > 0 and row["part"] == "rate"
    assert ("model" in row) == (candidate != DECODE)
    if candidate in (DECODE, MODEL):
        assert row["stages_ms"] == {}
    else:
        assert {"capture", "model", "verdict", "rest"} <= set(row["stages_ms"])
        assert ("overlay" in row["stages_ms"]) == (candidate != "no picture")
        total = sum(rate.stages_ms[0].values())
        assert total == pytest.approx(1e3 / rate.rounds_fps[0], rel=0.05)


def test_a_process_is_timed_and_heard_and_its_peak_is_its_own() -> None:
    small = run_python("-c", "print('hello')")
    assert small.output.strip() == "hello" and small.wall_s > 0
    ballast = bytearray(300_000_000)
    large = run_python("-c", "x = bytearray(100_000_000); print(len(x))")
    assert len(ballast) > 200e6 > large.peak_mb * 1e6 > 100e6
    assert small.peak_mb < 60
    with pytest.raises(PatchwatchError, match=r"failed: .*ZeroDivisionError"):
        run_python("-c", "1 / 0")


@pytest.mark.slow
def test_a_small_run_has_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_to_end, "QUICK_FRAMES", 4)
    monkeypatch.setattr(end_to_end, "QUICK_WATCHED_S", 0.5)
    section = EndToEndSection()
    ticks: list[str] = []
    section.measure(Plan(quick=True, threads=(1,), budget_s={"end_to_end": 1.0}), ticks.append)
    rows: list[Row] = json.loads(json.dumps(section.rows()))
    assert [row["part"] for row in rows] == 14 * ["rate"] + ["glass", "start", "memory", "cpu"]
    assert not [row for row in rows if "missing" in row]
    (glass,) = [row for row in rows if row["part"] == "glass"]
    assert glass["clip"] == HD.name and glass["unreadable_frames"] == 0
    assert 0 < float(str(glass["latency_p50_ms"])) < 5000
    text = render(rows).markdown
    for words in ("### Through the pipeline", "### Glass to verdict", "Watching at 30", "A still"):
        assert words in text


def test_an_interrupt_leaves_rows_and_what_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    section = EndToEndSection()

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(end_to_end, "QUICK_FRAMES", 2)
    plan = Plan(quick=True, threads=(1,), budget_s={"end_to_end": 1.0})
    with pytest.raises(KeyboardInterrupt):
        section.measure(plan, stop)
    assert [row["candidate"] for row in section.rows()] == [DECODE]

    def cold_start() -> Row:
        raise PatchwatchError("no such thing.")

    detector = Detector(FakeBackend(), parse_region("native"))
    section._note("720p", detector, lambda _: None, cold_start)
    assert section.rows()[-1]["missing"] == "cold start: no such thing."


def rates() -> list[Row]:
    fps = {DECODE: [100.0, 200.0], MODEL: [50.0, 400.0], "no picture": [45.0, 180.0]}
    stages = {"capture": 2.0, "model": 7.0, "verdict": 0.5, "rest": 0.5}
    named: Row = {"model": "m", "region": "native"}
    return [
        {
            "part": "rate",
            "clip": "1080p",
            "candidate": name,
            **({} if name == DECODE else named),
            "rounds_fps": rounds,
            "fps": rounds[0],
            "stages_ms": stages if name == "no picture" else {},
        }
        for name, rounds in fps.items()
    ]


def test_the_bound_is_the_slower_of_the_two_in_each_round() -> None:
    found = rates()
    assert bound_ratio(found[-1], found) == pytest.approx(0.9)
    assert bound_ratio(found[-1], found[-1:]) is None
    assert other_share(found[-1]) == pytest.approx(0.1)
    rendered = render(found)
    assert "0.900 of the bound, at least 0.85" in rendered.markdown
    assert "10.0 % of the time, under 15 %: **pass**" in rendered.markdown
    assert set(rendered.figures) == {"end_to_end_stages"}
