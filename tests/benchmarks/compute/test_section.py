"""What the section measures, and what it says where it cannot."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.compute import ComputeSection
from benchmarks.compute.section import FULL, OUT_OF_TIME
from benchmarks.section import Plan, Section

QUICK = Plan(quick=True, threads=(1,), budget_s={})


def test_a_quick_run_has_a_row_for_each_form_and_size() -> None:
    section: Section = ComputeSection()
    ticks: list[str] = []
    section.measure(QUICK, ticks.append)
    assert len(ticks) == section.steps(QUICK) == 6
    rows = section.rows()
    assert len(rows) == 18
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0] == {
        "model": "tiny_ladeda",
        "preprocessing": "x_grad",
        "form": "naive",
        "height_px": 256,
        "width_px": 256,
        "parameters": 1297,
        "macs": 53_904_160,
        "flops": 107_808_320,
        "traffic_bytes": rows[0]["traffic_bytes"],
        "intensity_flops_per_byte": rows[0]["intensity_flops_per_byte"],
    }
    assert all(row["flops"] == 2 * int(str(row["macs"])) for row in rows)


def test_a_full_run_plans_every_model_in_every_form() -> None:
    seen = {(candidate.model, candidate.form) for candidate in FULL}
    models = ("tiny_ladeda", "ladeda5", "ladeda9", "ladeda17", "ladeda33")
    forms = {(model, form) for model in models for form in ("naive", "plain", "folded")}
    assert seen == forms | {("lite0_levels", "naive"), ("lite0_levels", "folded")}
    assert len(set(FULL)) == len(FULL)


def test_an_interrupt_keeps_what_was_counted() -> None:
    section = ComputeSection()

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(QUICK, interrupt)
    assert len(section.rows()) == 3


def test_without_time_it_says_so() -> None:
    section = ComputeSection()
    section.measure(Plan(quick=True, threads=(1,), budget_s={"compute": -1}), lambda _: None)
    assert [row["missing"] for row in section.rows()] == [OUT_OF_TIME] * 6
    assert all("macs" not in row for row in section.rows())


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.compute.forms", raising=False)
    monkeypatch.delitem(sys.modules, "benchmarks.compute.torch_counter", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    section = ComputeSection()
    section.measure(QUICK, lambda _: None)
    assert {str(row["missing"]) for row in section.rows()} == {
        "Counting needs torch, which is not installed. Run: pip install 'patchwatch[train]'"
    }
