from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.results_file import (
    RESULTS,
    Conditions,
    Measured,
    bench_result,
    conditions_now,
    read_bench,
    write_bench,
)
from benchmarks.section import Plan, Row
from edge.errors import SinkError, UsageError
from tests.benchmarks.recorded import latency, result

PLAN = Plan(quick=True, threads=(1, 4), budget_s={"latency": 3.0}, seed=5)


def test_a_bench_result_keeps_plan_load_and_rows(tmp_path: Path) -> None:
    quiet = Conditions(load_average=(0.0, 0.0, 0.0), busy=False)
    sections = {"latency": Measured(title="Latency", rows=latency())}
    written = bench_result(PLAN, quiet, sections)
    path = write_bench(written, tmp_path / "new")
    assert path.name.startswith("bench_") and path.name.endswith(f"_{written.commit}.json")
    assert read_bench(path) == written
    data = json.loads(path.read_text())
    assert data["schema"] == 1 and data["warning"] is None and data["interrupted"] is False
    assert data["config"] == {
        "quick": True,
        "threads": [1, 4],
        "budget_s": {"latency": 3.0},
        "seed": 5,
    }
    assert data["machine"]["cpu"] and data["machine"]["libraries"]["onnxruntime"]
    assert data["commit"] and data["theme"] == "bench"
    assert data["machine"]["cores"] == os.cpu_count() and "governor" in data["machine"]
    assert data["conditions"]["load_average"] == [0.0, 0.0, 0.0]


def test_a_load_above_half_of_the_cores_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for load, busy in ((2.0, False), (2.1, True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert conditions_now().busy is busy
    assert "2.10" in (bench_result(PLAN, conditions_now(), {}).warning or "")


def test_an_earlier_file_of_the_same_name_stays(tmp_path: Path) -> None:
    first = write_bench(result({}), tmp_path)
    before = first.read_bytes()
    second = write_bench(result({"latency": latency()}), tmp_path)
    assert second.name == f"{first.stem}_2.json" and first.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_what_json_lacks_does_not_lose_a_measurement(tmp_path: Path) -> None:
    odd: Row = {"a_ms": np.float32(0.5), "b_ms": float("nan"), "c": np.arange(2), "d": Path("x")}
    (row,) = read_bench(write_bench(result({"odd": [odd]}), tmp_path)).sections["odd"].rows
    assert row == {"a_ms": 0.5, "b_ms": None, "c": [0, 1], "d": "x"}


def test_samples_stand_on_one_line(tmp_path: Path) -> None:
    rows: list[Row] = [{"samples_ms": [1.0, 2.5], "note": "[ 1, 2 ]"}]
    path = write_bench(result({"a": rows}), tmp_path)
    assert '"samples_ms": [1.0, 2.5],\n' in path.read_text()
    assert read_bench(path).sections["a"].rows == rows


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be written"):
        write_bench(result({}), tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expected a result file"),
        ("[]", "is not a result file"),
        ('{"theme": "start"}', "is not a result file"),
        ('{"theme": "bench", "schema": 99}', "schema 99, and this program reads 1"),
        ('{"theme": "bench", "schema": 1}', "broken: time is missing"),
    ],
)
def test_a_file_that_is_not_a_result_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_bench(path)


def test_every_commit_that_a_result_names_is_in_the_history() -> None:
    root = Path(__file__).resolve().parents[2]
    if read_git(root, "rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("no history here: not a clone with git, or a shallow one")
    results = root / "benchmarks" / "results"
    history = (read_git(root, "rev-list", "HEAD") or "").split()
    joined = re.findall(r"\b[0-9a-f]{7}\b", (results / "README.md").read_text("utf-8"))
    named = {
        (path.name, commit)
        for path in sorted(results.glob("*.json"))
        for commit in [
            *re.findall(r'"commit\w*": "([0-9a-f]{7,40})(?:-dirty)?"', path.read_text("utf-8")),
            *re.findall(r"_\d{8}_([0-9a-f]{7,40})\.json$", path.name),
        ]
    }
    assert len(named) > 10
    absent = {pair for pair in named if not any(known.startswith(pair[1]) for known in history)}
    unexplained = sorted(pair for pair in absent if not pair[1].startswith(tuple(joined)))
    assert unexplained == []


def test_no_result_names_a_folder_of_the_machine_that_it_was_made_on() -> None:
    for path in sorted(RESULTS.glob("*.json")):
        assert re.findall(r"""["' ]/[a-z]+/[^"' ]*""", path.read_text("utf-8")) == [], path.name


def read_git(folder: Path, *words: str) -> str | None:
    """What git says; None without git, or where the folder is in no repository of its own."""
    command = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
