from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.report import header, write_report
from benchmarks.section import Row
from edge.errors import MissingDependency, SinkError
from tests.benchmarks.recorded import latency, result, whole

pytest.importorskip("matplotlib")
ENTRIES = {"latency": "tests.benchmarks.fake_sections"}
ROWS: list[Row] = [{"runtime": "a", "p50_ms": 1.0}, {"runtime": "b", "p50_ms": 2.0}]


def page(folder: Path, rows: list[Row], name: str = "latency") -> str:
    path, undrawn = write_report(result({name: rows}), folder, ENTRIES)
    assert undrawn == []
    return path.read_text(encoding="utf-8")


def test_a_report_is_a_page_with_plots_beside_it(tmp_path: Path) -> None:
    text = page(tmp_path / "new", ROWS)
    assert "## latency\n\n2 rows were measured." in text
    assert "![latency line](latency_line.svg)" in text
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "latency_line.png",
        "latency_line.svg",
        "report.md",
    ]
    with Image.open(tmp_path / "new" / "latency_line.png") as image:
        assert image.width > 500
    assert (tmp_path / "new" / "latency_line.svg").read_text().startswith("<?xml")


def test_the_same_file_gives_the_same_page_and_plots(tmp_path: Path) -> None:
    page(tmp_path / "a", ROWS)
    page(tmp_path / "b", ROWS)
    for path in (tmp_path / "a").glob("*.[sm][vd]*"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_header_says_machine_versions_commit_date_and_plan() -> None:
    text = header(whole())
    for fact in (
        "2030-01-02 03:04:05 UTC",
        "`abc1234`",
        "Abacus 3000, 2 cores, 8.0 GiB",
        "performance",
        "onnxruntime 1.20.0",
        "0.10, 0.20, 0.30",
        "full; latency 200 s",
        "## Summary",
    ):
        assert fact in text
    assert "Caution" not in text


def test_cautions_stand_above_the_figures() -> None:
    text = header(
        result({}, quick=True, interrupted=True, warning="Busy.").model_copy(
            update={"commit": "abc-dirty"}
        )
    )
    assert text.count("> **Caution.**") == 4
    assert "Busy." in text and "interrupted" in text and "--quick" in text


def test_a_section_that_failed_says_so_and_its_rows_are_drawn(tmp_path: Path) -> None:
    text = page(tmp_path, [*ROWS, {"missing": "failed: ValueError: x"}])
    assert "> Not measured: failed: ValueError: x\n\n2 rows were measured." in text


def test_a_section_that_cannot_be_drawn_does_not_cost_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entries = {"good": ENTRIES["latency"], "bad": ENTRIES["latency"]}
    both = result({"bad": [{"runtime": "bad"}], "good": ROWS})
    with caplog.at_level(logging.ERROR):
        path, undrawn = write_report(both, tmp_path, entries)
    assert undrawn == ["bad"]
    text = path.read_text()
    assert "These rows could not be drawn" in text and "2 rows were measured." in text
    assert "bad could not be drawn" in caplog.text


def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page(tmp_path, ROWS)
    page(tmp_path, ROWS[:1])
    assert "1 rows were measured." in (tmp_path / "report.md").read_text()
    (tmp_path / "report.md").write_text("My own report.\n")
    with pytest.raises(SinkError, match="is no report of this program"):
        page(tmp_path, ROWS)
    assert (tmp_path / "report.md").read_text() == "My own report.\n"


def test_without_matplotlib_the_command_to_install_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"patchwatch\[bench\]"):
        page(tmp_path, latency())
    assert list(tmp_path.iterdir()) == []
