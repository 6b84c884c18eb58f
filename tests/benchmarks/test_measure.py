from __future__ import annotations

import sys

import pytest
from rich.progress import Progress

from benchmarks.measure import _Bar, measure
from benchmarks.section import Plan

FAKES = "tests.benchmarks.fake_sections"
PLAN = Plan(quick=True, threads=(1,), budget_s={"a": 1.0})


def test_sections_run_in_order() -> None:
    outcome = measure({"b": f"{FAKES}:Steady", "a": f"{FAKES}:Steady"}, PLAN)
    assert list(outcome.sections) == ["b", "a"]
    assert outcome.sections["a"].title == "Steady figures"
    assert [row["runtime"] for row in outcome.sections["a"].rows] == ["r0", "r1", "r2"]
    assert not outcome.failed and not outcome.interrupted


def test_an_interrupt_ends_the_run_and_keeps_the_rows() -> None:
    outcome = measure({"a": f"{FAKES}:Interrupted", "b": f"{FAKES}:Steady"}, PLAN)
    assert outcome.interrupted
    assert list(outcome.sections) == ["a"] and len(outcome.sections["a"].rows) == 1


def test_an_unexpected_error_costs_only_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = measure({"a": f"{FAKES}:Broken", "b": f"{FAKES}:Steady"}, PLAN)
    assert outcome.failed == ["a"]
    assert [row.get("runtime") for row in outcome.sections["a"].rows] == ["r0", "r1", None]
    assert len(outcome.sections["b"].rows) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_error_with_a_clear_message_has_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = measure({"a": f"{FAKES}:Refused"}, PLAN)
    assert outcome.sections["a"].rows == [{"missing": "failed: tiny.onnx: cannot be read."}]
    err = capsys.readouterr().err
    assert "a failed: tiny.onnx: cannot be read." in err and "Traceback" not in err


def test_an_absent_library_is_a_row_and_no_failure() -> None:
    outcome = measure({"a": f"{FAKES}:Unequipped"}, PLAN)
    (row,) = outcome.sections["a"].rows
    assert "pip install quantum" in str(row["missing"])
    assert outcome.failed == []


def test_a_module_that_cannot_be_imported_is_a_failed_section() -> None:
    outcome = measure({"some_name": "benchmarks.none_such:Section"}, PLAN)
    assert outcome.failed == ["some_name"]
    assert outcome.sections["some_name"].title == "Some name"
    assert "none_such" in str(outcome.sections["some_name"].rows[0]["missing"])


def test_a_library_that_a_section_imports_and_is_absent_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    outcome = measure({"latency": "tests.benchmarks.needs_onnx:Section"}, PLAN)
    assert outcome.failed == []
    assert "onnx is needed to measure latency" in str(outcome.sections["latency"].rows[0])


def test_the_bar_weighs_sections_by_their_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    plan = Plan(quick=True, threads=(1,), budget_s={"a": 90.0, "b": 10.0})
    bar = _Bar({"a": "", "b": ""}, plan, progress)
    bar.begin("a")
    bar.expect(2)
    bar.tick("256², 1 thread")
    (task,) = progress.tasks
    assert (task.total, task.completed, task.description) == (100, 45, "a")
    for _ in range(3):  # more than were expected
        bar.tick("another")
    assert task.completed == 90
    bar.end(7)
    assert "a: 7 rows in 0.0 s" in capsys.readouterr().err
