from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import captures
from benchmarks.captures import READERS, CapturePlan, Samples, main, measure, rows
from benchmarks.end_to_end.clips import Size
from benchmarks.section import Row
from edge.errors import SourceError
from edge.sources.policy import Limits

TINY = Size("tiny", 64, 384)


def figures(found: Sequence[Row]) -> dict[str, dict[str, Any]]:
    return {str(row["figure"]): row for row in found}


def test_both_readers_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "SETTLING_S", 0.3)
    monkeypatch.setattr(captures, "FROZEN", Limits(open_s=0.5, read_s=0.5))
    told: list[str] = []
    plan = CapturePlan(TINY, rounds=1, seconds=0.3, opens=1)
    found = figures(rows(measure(plan, told.append)))
    assert told[1:] == [
        "round 1 of 1: opencv",
        "round 1 of 1: pyav",
        "frozen camera: opencv",
        "frozen camera: pyav",
    ]
    for name in READERS:
        assert found["open_ms"][name] <= found["first_picture_ms"][name]
        assert len(found["age_p50_ms"][f"{name}_samples"]) > 3
        assert 0 < found["age_p50_ms"][name] <= found["age_p99_ms"][name]
        assert found["cpu_ms_per_s, each taken"][name] > 0
        assert found["frozen_read_s"][name] > 0.4
        assert found["frozen_open_s"][name] > 0.4


def test_the_result_is_written_and_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = {"opencv": filled(4.0), "pyav": filled(1.0)}
    monkeypatch.setattr(captures, "measure", lambda plan, tell: measured)
    path = tmp_path / "captures.json"
    assert main(["--size", "360p", "--rounds", "1", "--report", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{path}\n"
    assert "first_picture_ms" in shown.err
    content = json.loads(path.read_text())
    assert (content["theme"], content["config"]["size"]) == ("captures", "640x360")
    assert content["rows"] == rows(measured)
    assert captures.usual_path(content, tmp_path).name.startswith("captures_")


def filled(value: float) -> Samples:
    samples = Samples()
    for values in (
        samples.open_ms,
        samples.first_ms,
        samples.first_age_ms,
        samples.age_ms,
        *samples.cpu_ms_per_s.values(),
        samples.frozen_read_s,
        samples.frozen_open_s,
    ):
        values += [value, value, 100.0]
    samples.backlog_frames.append(0)
    return samples


def test_a_ratio_is_ours_over_theirs() -> None:
    found = figures(rows({"opencv": filled(4.0), "pyav": filled(1.0)}))
    assert (found["open_ms"]["opencv"], found["open_ms"]["pyav"]) == (4.0, 1.0)
    assert found["open_ms"]["ratio"] == 0.25
    assert found["age_p99_ms"]["ratio"] == 1.0
    assert found["backlog_frames"]["ratio"] is None


def test_a_camera_that_cannot_be_read_ends_the_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(url: str, limits: Limits) -> captures.Reader:
        raise SourceError("no stream.")

    monkeypatch.setitem(captures.READERS, "opencv", refuse)
    with pytest.raises(SourceError, match="no stream"):
        measure(CapturePlan(TINY), lambda _: None)
    monkeypatch.setattr(captures, "measure", lambda plan, tell: refuse("", Limits()))
    assert main([]) == 1
    assert "error: no stream." in capsys.readouterr().err
