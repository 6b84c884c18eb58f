"""What models cost: known figures, agreement with torch's own counter, and the report."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.compute import ComputeSection, Key, counts, layers_markdown, render
from benchmarks.section import Plan, Row
from edge.errors import MissingDependency
from export.fold import Unfolded
from training.models import build


def plan(budget_s: float = 60.0) -> Plan:
    return Plan(quick=True, threads=(1,), budget_s={"compute": budget_s})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    section = ComputeSection()
    section.measure(plan(), lambda _: None)
    read: list[Row] = json.loads(json.dumps(section.rows()))
    return read


def test_a_quick_run_has_a_row_for_each_form_and_size(rows: list[Row]) -> None:
    assert {(row["model"], row["form"]) for row in rows} == {
        ("tiny_ladeda", "naive"),
        ("tiny_ladeda", "folded"),
        ("lite0_levels", "folded"),
    }
    assert all(row["flops"] == 2 * int(str(row["macs"])) for row in rows)
    naive = [row for row in rows if row["form"] == "naive"]
    assert {row["height_px"] for row in naive} == {256, 384, 1080}
    assert {row["parameters"] for row in naive} == {1297}
    assert naive[0]["macs"] == 53_904_160
    default = [row for row in rows if row["model"] == "lite0_levels" and row["width_px"] == 683]
    assert int(str(default[0]["macs"])) == pytest.approx(1.880e9, rel=1e-3)


@pytest.mark.parametrize("architecture", ["tiny_ladeda", "ladeda5", "lite0_magnitudes_s16"])
def test_the_graph_has_the_macs_of_torch(architecture: str) -> None:
    key: Key = (architecture, "raw", "naive")
    (count,) = counts(key, [(64, 80)])
    theirs = FlopCounterMode(display=False)
    with theirs, torch.no_grad():
        Unfolded(build(architecture, "raw")).eval()(torch.zeros(1, 64, 80, 3, dtype=torch.uint8))
    assert count.flops == theirs.get_total_flops()


def test_layers_carry_the_names_of_the_model() -> None:
    (count,) = counts(("tiny_ladeda", "x_grad", "folded"), [(64, 64)])
    table = layers_markdown(count)
    assert "/trunk/trunk.0/Conv" in table and "**all**" in table
    assert f"{count.macs:,}" in table


def test_without_time_or_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    section = ComputeSection()
    section.measure(plan(-1.0), lambda _: None)
    assert all("no time was left" in str(row["missing"]) for row in section.rows())
    monkeypatch.setitem(sys.modules, "export.fold", None)
    with pytest.raises(MissingDependency, match=r"pip install 'patchwatch\[train\]'"):
        ComputeSection().measure(plan(), lambda _: None)


def test_the_report_has_models_as_rows_and_ratios_beside_the_papers(rows: list[Row]) -> None:
    teacher: list[Row] = [
        row
        | {"model": "ladeda9", "parameters": 1297 * 10_000, "flops": 375 * int(str(row["flops"]))}
        for row in rows
        if row["model"] == "tiny_ladeda"
    ]
    text = render(
        [*rows, *teacher, {"model": "x", "form": "naive", "missing": "no torch"}]
    ).markdown
    assert "| Tiny-LaDeDa, x_grad | as published" in text and "53.9 M / 108 M" in text
    assert "10,000×" in text and text.count("375×") >= 6
    assert "- Not measured: no torch" in text
    assert render([]).markdown == ""
