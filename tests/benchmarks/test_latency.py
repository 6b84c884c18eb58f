"""Latency: rows of small runs, agreement of runtimes with torch, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import latency, runtimes
from benchmarks.latency import FOLDED, NAIVE, LatencySection, bars, render
from benchmarks.resnet50 import ResNet50
from benchmarks.runtimes import AbsentRuntime, Runtime, Subject, shipped_subject
from benchmarks.section import Plan, Row, Tick
from edge.weights import TINY
from export.compare import textured
from export.model_file import BOUND

HW = (64, 80)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return shipped_subject(TINY, 0, tmp_path_factory.mktemp("subject"))


def plan(quick: bool = True, **budget_s: float) -> Plan:
    return Plan(quick=quick, threads=(1,), budget_s={"latency": 0.1} | budget_s)


class Small(LatencySection):
    """The smallest model at one size."""

    def __init__(self, subject: Subject, *more: Runtime) -> None:
        super().__init__()
        self._subject = subject
        self._runtimes = (*latency.runtimes(), *more)

    def add_all(self, plan: Plan, folder: Path, tick: Tick) -> None:
        for threads in plan.threads:
            self.add(self._subject, HW, threads, self._runtimes, tick)


@pytest.fixture(scope="module")
def rows(tiny: Subject) -> list[Row]:
    before = torch.get_num_threads()
    section = Small(tiny)
    section.measure(plan(), lambda _: None)
    assert torch.get_num_threads() == before
    read: list[Row] = json.loads(json.dumps(section.rows()))
    return read


def test_each_runtime_has_a_row(rows: list[Row]) -> None:
    measured = [row for row in rows if "missing" not in row]
    assert {str(row["runtime"]) for row in rows} == {each.name for each in latency.runtimes()}
    assert {NAIVE, FOLDED, "torch eager"} <= {str(row["runtime"]) for row in measured}
    for row in measured:
        assert (row["model"], row["size"], row["threads"]) == ("tiny-ladeda", [64, 80], 1)
        assert row["validation_auc"] == pytest.approx(0.662, abs=0.01)
        difference = row["max_abs_logit_difference"]
        assert difference is None or float(str(difference)) < BOUND
    base = next(row for row in measured if row["runtime"] == NAIVE)
    assert base["ratio_to_naive"] == 1
    compiled = next(row for row in rows if row["runtime"] == "torch.compile")
    assert "left out, as compiling would have taken the time" in str(compiled["missing"])


def test_the_forms_of_a_subject_have_one_set_of_weights(tiny: Subject, tmp_path: Path) -> None:
    assert tiny.shipped is not None and tiny.shipped.name == "tiny-ladeda.onnx"
    again = shipped_subject(TINY, 0, tmp_path)
    assert again.reference_logit(HW) == pytest.approx(tiny.reference_logit(HW), abs=1e-6)
    for naive in (True, False):
        runner = runtimes.open_session(tiny, HW, 1, naive=naive)
        found = runner.run(textured((1, *HW)))
        assert found == pytest.approx(tiny.reference_logit(HW), abs=BOUND)


def test_an_interrupt_keeps_what_was_measured(tiny: Subject) -> None:
    section = Small(tiny)

    def stop(told: str) -> None:
        if "ready" not in told:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(plan(), stop)
    assert any("p50_ms" in row for row in section.rows())


def test_what_a_machine_lacks_is_a_row_that_says_so(tiny: Subject) -> None:
    def absent(*_: object) -> runtimes.Runner:
        raise AbsentRuntime("no such thing here.")

    section = Small(tiny, Runtime("ours", absent))
    section.measure(plan(), lambda _: None)
    (row,) = [row for row in section.rows() if row["runtime"] == "ours"]
    assert row["missing"] == "no such thing here."


def test_times_on_a_device_are_told_apart(tiny: Subject) -> None:
    parts = {"copy": 0.25, "kernel": 1.5}
    runner = runtimes.Runner(lambda frames: 0.0, device_ms=lambda: parts)
    section = Small(tiny, Runtime("on a GPU", lambda *_: runner))
    section.measure(plan(), lambda _: None)
    (row,) = [row for row in section.rows() if row["runtime"] == "on a GPU"]
    assert (row["timed"], row["copy_p50_ms"], row["kernel_p50_ms"]) == (
        "host, copy, kernel",
        0.25,
        1.5,
    )
    assert "0.250 + 1.50" in render([row]).markdown


def row(runtime: str, ratio: float | None = 0.5, **changes: object) -> Row:
    made: Row = {"runtime": runtime, "model": "tiny-ladeda", "size": [256, 256], "threads": 1}
    made |= {f"{name}_ms": 2.0 for name in ("p50", "p90", "p95", "p99", "max")}
    made |= {"repeats": 9, "timed": "host", "max_abs_logit_difference": 1e-6}
    made |= {f"ratio_to_naive{end}": ratio for end in ("", "_low", "_high")}
    return made | changes


def test_the_report_says_whether_the_promises_hold() -> None:
    text = render([row(FOLDED), row(FOLDED, 0.9, size=[1080, 1920]), row(NAIVE, 1.0)]).markdown
    assert "256×256, 1 thread: 2.00× as fast" in text and "at least 1.3× is promised: holds" in text
    assert "1.11× as fast" in text and "at least 2× is promised: **does not hold**" in text
    assert "**256×256**" in text and "**1080×1920**" in text
    assert "- Not measured: why" in render([{"runtime": "x", "missing": "why"}]).markdown


def test_one_long_whisker_does_not_flatten_the_bars() -> None:
    figure = bars([row(NAIVE), row(FOLDED, p95_ms=900.0, threads=2)], (256, 256))
    assert figure.axes[0].get_xlim()[1] < 10
    assert any("p95 900 ms" in text.get_text() for text in figure.axes[0].texts)


def test_resnet50_is_the_published_one_and_agrees_with_torch() -> None:
    assert sum(weight.numel() for weight in ResNet50().parameters()) == 25_557_032
    subject = runtimes.resnet_subject(0)
    found = runtimes.open_session(subject, (224, 224), 1, naive=True).run(textured((1, 224, 224)))
    assert found == pytest.approx(subject.reference_logit((224, 224)), rel=1e-3, abs=1e-3)
