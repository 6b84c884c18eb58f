from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.frontier.record import frontier_text, read_frontier
from benchmarks.frontier.table import BEGIN, END
from edge.errors import MissingDependency, UsageError
from tests.benchmarks.frontier.made import frontier, point, write_quality

MADE = frontier(point("cheap", 1.5), point("dear", 40.0))


def run(*words: object) -> int:
    parser = argparse.ArgumentParser(prog="patchwatch bench", allow_abbrev=False)
    command.add_arguments(parser)
    return command.run(parser.parse_args(["frontier", *map(str, words)]))


def recorded(folder: Path) -> Path:
    path = folder / "frontier.json"
    path.write_text(frontier_text(MADE))
    return path


def card(folder: Path) -> Path:
    path = folder / "card.md"
    path.write_text(f"{BEGIN}\nold\n{END}\n")
    return path


def test_an_evaluation_becomes_a_table_a_plot_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    tiny = {"architecture": "tiny_ladeda", "preprocessing": "x_grad", "region": "resize:64"}
    quality, page = write_quality(tmp_path / "q.json", tiny=tiny), card(tmp_path)
    svg, kept = tmp_path / "new" / "f.svg", tmp_path / "results" / "frontier_x.json"
    assert run(quality, "-o", svg, "--json", kept, "--card", page) == 0
    out, err = capsys.readouterr()
    assert out.startswith("| model |") and "| tiny |" in out and str(svg) in err
    assert b">tiny</text>" in svg.read_bytes() and "| tiny |" in page.read_text()
    assert read_frontier(kept).models[0].work
    assert run(kept, "--card", page, "--check") == 0
    assert run(quality, "--card", page, "--check") == 0


def test_its_own_file_gives_table_and_plot_without_counting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.frontier.count", None)
    source, page = recorded(tmp_path), card(tmp_path)
    assert run(source, "--card", page, "--check") == 1
    assert "is not that of" in " ".join(capsys.readouterr().err.split())
    assert "old" in page.read_text()
    assert run(source, "--card", page) == 0
    assert run(source, "--card", page, "--check") == 0
    with pytest.raises(UsageError, match="has the counts already"):
        run(source, "--models", "tiny-ladeda")


def test_a_model_that_is_not_counted_is_told_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    assert run(write_quality(tmp_path / "q.json", a={})) == 1
    assert "a is not counted" in capsys.readouterr().out


def test_a_wrong_card_costs_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as text"):
        run(recorded(tmp_path), "--json", tmp_path / "new.json", "--card", tmp_path / "absent.md")
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "plot.png"], r"ends in \.svg, found 'plot.png'"),
        (["--json", "f.txt"], r"ends in \.json"),
        (["--card", "card.txt"], r"ends in \.md"),
        (["--check"], "give both"),
    ],
)
def test_wrong_words_are_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(recorded(tmp_path), *words)


def test_what_lacks_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = recorded(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"patchwatch\[bench\]"):
        run(source, "-o", tmp_path / "f.svg")
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("count", "given"):
        monkeypatch.delitem(sys.modules, f"benchmarks.frontier.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "benchmarks.compute.forms", raising=False)
    with pytest.raises(MissingDependency, match=r"patchwatch\[train\]"):
        run(write_quality(tmp_path / "q.json", a={}))
