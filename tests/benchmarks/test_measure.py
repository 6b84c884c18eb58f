from __future__ import annotations

import pytest
from rich.progress import Progress

from benchmarks.measure import _Bar, measure
from benchmarks.section import Plan

FAKES = "tests.benchmarks.fake_sections"
PLAN = Plan(quick=True, threads=(1,), budget_s={"a": 1.0})


def test_an_error_with_a_clear_message_has_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = measure({"a": f"{FAKES}:Refused"}, PLAN)
    assert outcome.sections["a"].rows == [{"missing": "failed: tiny.onnx: cannot be read."}]
    err = capsys.readouterr().err
    assert "a failed: tiny.onnx: cannot be read." in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("Unequipped", "pip install quantum"),
        ("Importing", "quantum_annealer is needed to measure latency"),
    ],
)
def test_an_absent_library_is_a_row_and_no_failure(section: str, sentence: str) -> None:
    outcome = measure({"latency": f"{FAKES}:{section}"}, PLAN)
    (row,) = outcome.sections["latency"].rows
    assert sentence in str(row["missing"])
    assert outcome.failed == []


def test_a_module_that_cannot_be_imported_is_a_failed_section() -> None:
    outcome = measure({"some_name": "benchmarks.none_such:Section"}, PLAN)
    assert outcome.failed == ["some_name"]
    assert outcome.sections["some_name"].title == "Some name"
    assert "none_such" in str(outcome.sections["some_name"].rows[0]["missing"])


def test_the_bar_weighs_sections_by_their_budgets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("benchmarks.measure.time.perf_counter", lambda: now_s[0])
    progress = Progress()
    plan = Plan(quick=True, threads=(1,), budget_s={"a": 90.0, "b": 10.0})
    bar = _Bar({"a": "", "b": ""}, plan, progress)
    bar.begin("a")
    now_s[0] += 45
    bar.tick("256², 1 thread")
    (task,) = progress.tasks
    assert (task.total, task.completed, task.description) == (100, 45, "a")
    now_s[0] += 60
    bar.tick("another")
    assert task.completed == 90
    bar.end(7)
    assert "a: 7 rows in 105.0 s" in capsys.readouterr().err
