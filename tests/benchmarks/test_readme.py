from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.readme import BEGIN, END, check_readme, newest, snippet, write_readme
from benchmarks.results_file import BenchResult, write_bench
from edge.errors import UsageError
from tests.benchmarks.recorded import compute, latency, rates, result, whole


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def readme(folder: Path, table: str = "old") -> Path:
    path = folder / "README.md"
    path.write_text(f"# Name\n\n{BEGIN}\n{table}\n{END}\n\nrest\n", encoding="utf-8")
    return path


def test_the_table_has_latency_macs_and_rates() -> None:
    lines = snippet(whole()).splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    sizes = [(row[0], row[1], row[2]) for row in rows[2:8]]
    assert sizes == [
        ("256×256", "52.4 M", "1"),
        ("256×256", "52.4 M", "2"),
        ("720p", "737 M", "1"),
        ("720p", "737 M", "2"),
        ("1080p", "1,659 M", "1"),
        ("1080p", "1,659 M", "2"),
    ]
    assert all(row[3].endswith(" ms") and row[5] == "2.00× as fast" for row in rows[2:8])
    assert rows[11] == ["720p", "30.0", "20.0", "15.0", "60.0"]
    assert rows[12] == ["1080p", "15.0", "10.0", "7.50", "30.0"]
    assert "Abacus 3000, 2 cores, 2030-01-02, commit `abc1234`" in lines[-1]
    assert "ONNX Runtime 1.20.0" in lines[-1]


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
        "latency": [*latency(), default],
        "end_to_end": [
            decode,
            *(row | named for row in others),
            *(row | {"model": "tiny-ladeda", "region": "native"} for row in rates(30.0, "1080p")),
        ],
    }
    lines = snippet(result(sections)).splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert cells[0][:3] == ["model", "one frame of", "MACs"]
    assert cells[2][:4] == ["lite0-levels", "512×512", "2,000 M", "1"]
    assert [row[:2] for row in cells[3:6]] == [
        ["tiny-ladeda", size] for size in ("256×256", "720p", "1080p")
    ]
    assert cells[7][:2] == ["model", "clip, frames per second"]
    assert cells[9] == ["lite0-levels, center:512", "720p", "30.0", "20.0", "15.0", "60.0"]
    assert cells[10][:3] == ["tiny-ladeda, native", "1080p", "15.0"]
    assert len(cells) == 13


def test_what_a_result_lacks_is_left_out() -> None:
    assert snippet(result({})) == ""
    assert "fps" not in snippet(result({"latency": latency()}))
    text = snippet(result({"end_to_end": rates()}))
    assert "720p" in text and "1080p" not in text and "MACs" not in text
    missing = result({"latency": [{"runtime": "ONNX Runtime, folded graph", "missing": "none"}]})
    assert snippet(missing) == ""


def test_a_warning_comes_with_the_figures() -> None:
    assert snippet(whole(warning="The machine was busy.")).endswith("The machine was busy.")


def test_the_table_is_stale_until_it_is_written(tmp_path: Path) -> None:
    path = readme(tmp_path)
    assert "Run 'patchwatch bench readme'" in (check_readme(path, whole()) or "")
    write_readme(path, whole())
    assert check_readme(path, whole()) is None
    text = path.read_text()
    assert text.startswith(f"# Name\n\n{BEGIN}\n| one frame") and text.endswith("\n\nrest\n")
    write_readme(path, whole())
    assert path.read_text() == text
    slower = whole().model_copy(update={"commit": "def5678"})
    assert "def5678" in (check_readme(path, slower) or "")
    path.write_text(text.replace("2.00×", "9.00×"))
    assert check_readme(path, whole()) is not None


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
    path, found = newest(tmp_path)
    assert path == wanted
    assert isinstance(found, BenchResult) and found.time.startswith("2030-02")


def test_outside_git_every_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    wanted = save(tmp_path)
    assert newest(tmp_path)[0] == wanted


def test_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found none"):
        newest(tmp_path)
    with pytest.raises(UsageError, match="found none"):
        newest(tmp_path / "absent")
