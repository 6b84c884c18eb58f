from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.readme import BEGIN, END, newest, snippet, write_readme
from benchmarks.results_file import BenchResult, write_bench
from edge.errors import UsageError
from tests.benchmarks.recorded import compute, latency, rates, result, whole


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def readme(folder: Path, table: str = "old") -> Path:
    path = folder / "README.md"
    path.write_text(f"# Name\n\n{BEGIN}\n{table}\n{END}\n\nrest\n", encoding="utf-8")
    return path


def test_two_models_are_told_apart_and_the_default_comes_first() -> None:
    (default,) = [
        row | {"model": "lite0-levels", "size": [512, 512]}
        for row in latency()
        if row["size"] == [256, 256]
    ]
    lite = compute()[0] | {"model": "lite0_levels", "height_px": 512, "width_px": 512}
    decode, *others = rates()
    named = {"model": "lite0-levels", "region": "center:512"}
    sections = {
        "compute": [*compute(), lite | {"macs": 2_000_000_000}],
        "latency": [
            *latency(),
            default,
            default | {"runtime": "Patchwatch, auto", "p50_ms": 0.25, "chose": "openvino, fp16"},
        ],
        "end_to_end": [
            decode,
            *(row | named for row in others),
            *(row | {"model": "tiny-ladeda", "region": "native"} for row in rates(30.0, "1080p")),
        ],
    }
    text = snippet(result(sections, warning="The machine was busy."))
    assert "Abacus 3000, 2 cores, 2030-01-02, commit `abc1234`" in text
    assert "ONNX Runtime 1.20.0" in text and text.endswith("The machine was busy.")
    lines = text.splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert cells[0][:3] == ["model", "one frame of", "MACs"]
    assert cells[2][:4] == ["lite0-levels", "512×512", "2,000 M", "1"]
    assert [row[6] for row in cells[2:4]] == ["0.250 ms: openvino, fp16", "–"]
    assert [row[:2] for row in cells[3:6]] == [
        ["tiny-ladeda", size] for size in ("256×256", "720p", "1080p")
    ]
    assert cells[7][:2] == ["model", "clip, frames per second"]
    assert cells[9] == ["lite0-levels, center:512", "720p", "30.0", "20.0", "15.0", "60.0"]
    assert cells[10][:3] == ["tiny-ladeda, native", "1080p", "15.0"]
    assert len(cells) == 13
    assert snippet(whole()).startswith("| one frame of") and snippet(result({})) == ""


@pytest.mark.parametrize("text", ["none", f"{END}\n{BEGIN}", BEGIN, f"{BEGIN}{END}" * 2])
def test_a_readme_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(UsageError, match="expected one line"):
        write_readme(path, whole())
    assert path.read_text() == text


def save(folder: Path, **keywords: object) -> Path:
    return write_bench(whole(**keywords), folder)


def test_the_newest_full_committed_result_counts(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    save(tmp_path, time="2030-01-01T00:00:00+00:00")
    wanted = save(tmp_path, time="2030-02-01T00:00:00+00:00")
    save(tmp_path, time="2030-03-01T00:00:00+00:00", quick=True)
    save(tmp_path, time="2030-03-02T00:00:00+00:00", interrupted=True)
    write_bench(result({"latency": latency()}, time="2030-03-03T00:00:00+00:00"), tmp_path)
    (tmp_path / "start_x.json").write_text("{}")
    git(tmp_path, "add", ".")
    save(tmp_path, time="2030-04-01T00:00:00+00:00")  # not added
    with pytest.raises(UsageError, match="found none"):
        newest(tmp_path / "absent")
    path, found = newest(tmp_path)
    assert path == wanted
    assert isinstance(found, BenchResult) and found.time.startswith("2030-02")
