from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.readme import BEGIN, END
from benchmarks.results_file import write_bench
from edge.errors import SinkError, UsageError
from tests.benchmarks.recorded import latency, result, whole

FAKES = "tests.benchmarks.fake_sections"
ROOT = Path(__file__).resolve().parents[2]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="patchwatch bench", allow_abbrev=False)
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def use(monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    monkeypatch.setattr(command, "SECTIONS", {k: f"{FAKES}:{v}" for k, v in entries.items()})


def written(folder: Path) -> dict[str, object]:
    (path,) = folder.glob("bench_*.json")
    data: dict[str, object] = json.loads(path.read_text())
    return data


def test_bench_measures_and_prints_the_path_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, latency="Steady", power="Steady", compute="Broken")
    chosen = ("--only", "latency", "power", "--quick", "--threads", "3,1")
    assert run(*chosen, "--output", str(tmp_path / "new")) == 0
    out, err = capsys.readouterr()
    (path,) = (tmp_path / "new").iterdir()
    assert out == f"{path}\n"
    assert "latency: 3 rows in" in err
    data = written(tmp_path / "new")
    assert list(data["sections"]) == ["latency", "power"]  # type: ignore[call-overload]  # JSON
    assert data["config"]["quick"] is True  # type: ignore[index]  # JSON
    assert data["config"]["threads"] == [1, 3]  # type: ignore[index]  # JSON


def test_without_a_folder_it_writes_below_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, latency="Steady")
    monkeypatch.chdir(tmp_path)
    assert run("--only", "latency", "--quick") == 0
    assert len(list((tmp_path / "out" / "bench").glob("bench_*.json"))) == 1


@pytest.mark.parametrize(
    "words", [["--only", "nothing"], ["--threads", "0"], ["--threads", "x"], ["--quic"], ["what"]]
)
def test_wrong_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, compute="Steady", latency="Interrupted", power="Steady")
    assert run("--output", str(tmp_path)) == 130
    assert "interrupted" in capsys.readouterr().err
    data = written(tmp_path)
    sections: dict[str, dict[str, list[object]]] = data["sections"]  # type: ignore[assignment]
    assert {name: len(part["rows"]) for name, part in sections.items()} == {
        "compute": 3,
        "latency": 1,
    }
    assert data["interrupted"] is True


def test_a_section_that_breaks_loses_nothing_and_fails_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, compute="Broken", latency="Steady")
    assert run("--output", str(tmp_path)) == 1
    sections: dict[str, dict[str, list[object]]] = written(tmp_path)["sections"]  # type: ignore[assignment]
    assert len(sections["latency"]["rows"]) == 3
    assert len(sections["compute"]["rows"]) == 3
    assert sections["compute"]["rows"][-1] == {
        "missing": "failed: ZeroDivisionError: no figures left"
    }


def test_a_folder_that_cannot_be_made_is_refused_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, latency="Interrupted")
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="--output"):
        run("--output", str(tmp_path / "file"))


def test_compare_says_a_regression_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_bench(result({"latency": latency()}), tmp_path / "a")
    b = write_bench(result({"latency": latency(slowdown=1.3)}), tmp_path / "b")
    assert run("compare", str(a), str(b)) == 1
    assert "3 slower by more than the bound of 1.1×." in capsys.readouterr().out
    assert run("compare", str(a), str(b), "--bound", "1.5") == 0
    assert run("compare", str(b), str(a)) == 0
    with pytest.raises(UsageError, match="absent"):
        run("compare", str(a), str(tmp_path / "absent.json"))


def test_report_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_bench(result({"unknown": latency()}), tmp_path)
    assert run("report", str(file), "-o", str(tmp_path / "page")) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page' / 'report.md'}\n"
    assert (tmp_path / "page" / "report.md").exists()


def test_readme_is_checked_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(command, "README", readme)
    monkeypatch.setattr(command, "newest", lambda: (tmp_path / "bench_x.json", whole()))
    assert run("readme", "--check") == 1
    assert "patchwatch bench readme" in capsys.readouterr().err
    assert "old" in readme.read_text()
    assert run("readme") == 0
    assert run("readme", "--check") == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| one frame") and text.endswith(f"{END}\nafter\n")
    readme.write_text(text.replace("2.00×", "9.00×"))
    assert run("readme", "--check") == 1


def test_layers_are_counted_and_nothing_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    use(monkeypatch, latency="Broken")
    assert run("--layers", "--output", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "tiny_ladeda, x_grad, as published, 256×256 pixels" in out
    assert "ladeda9, x_grad, as published" in out and "20,968,736,768" in out
    assert list(tmp_path.iterdir()) == []
