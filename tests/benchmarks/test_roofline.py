"""The roofline: arithmetic by hand, rows of a small run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.charts import figure_of
from benchmarks.roofline import RooflineSection, cache_bytes, limit_rows, place, render
from benchmarks.section import Plan, Row, of_kind


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    section = RooflineSection(sizes=((64, 64), (96, 128)), array_bytes=2**20)
    plan = Plan(quick=True, threads=(1, 2), budget_s={"roofline": 0.0})
    section.measure(plan, lambda _: None)
    read: list[Row] = json.loads(json.dumps(section.rows()))
    return read


@pytest.mark.parametrize(
    ("moved", "binds", "share_of_limit"), [(1e9, "memory", 50.0), (1e7, "compute", 20.0)]
)
def test_work_is_bound_by_one_of_two_limits(
    moved: float, binds: str, share_of_limit: float
) -> None:
    # 2 GFLOP in 100 ms, on a machine of 100 GFLOP/s and 20 GB/s.
    placed = place(2e9, moved, 100.0, peak_gflops=100.0, bandwidth_gb_s=20.0)
    assert placed["binds"] == binds
    assert placed["p50_gflops"] == pytest.approx(20) == placed["share_of_peak_percent"]
    assert placed["share_of_limit_percent"] == pytest.approx(share_of_limit)


def test_limits_are_the_best_of_as_many_threads_or_fewer() -> None:
    probes: list[Row] = [
        {"threads": 1, "best_gflops": 50.0},
        {"threads": 1, "best_gb_s": 9.0},
        {"threads": 2, "best_gflops": 40.0},
        {"threads": 2, "best_gb_s": 10.0},
    ]
    one, two = limit_rows(probes)
    assert (one["peak_gflops"], one["bandwidth_gb_s"]) == (50, 9)
    assert (two["peak_gflops"], two["bandwidth_gb_s"], two["ridge_flop_per_byte"]) == (50, 10, 5)
    assert limit_rows(probes[:1]) == []


def test_a_run_has_probes_limits_and_the_model(rows: list[Row]) -> None:
    probes, models = of_kind(rows, "probe"), of_kind(rows, "model")
    assert {row["measures"] for row in probes} == {"compute", "bandwidth"}
    assert [row["threads"] for row in of_kind(rows, "limit")] == [1, 2]
    assert [(row["threads"], row["size"]) for row in models] == [
        (1, "64²"),
        (1, "128×96"),
        (2, "64²"),
        (2, "128×96"),
    ]
    for row in models:
        rate = 2 * figure_of(row, "macs") / figure_of(row, "p50_ms") / 1e6
        assert row["p50_gflops"] == pytest.approx(rate)


def test_it_renders_from_its_rows_alone(rows: list[Row]) -> None:
    rendered = render(rows)
    assert "**Limits**" in rendered.markdown and "share of limit percent" in rendered.markdown
    assert "GFLOP/s" in rendered.figures["roofline"].axes[0].get_ylabel()
    assert not render([{"missing": "no torch"}]).figures


def test_the_largest_cache_is_read(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "1M", "256K")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}/size").write_text(f"{size}\n")
    assert cache_bytes(tmp_path) == 2**20
    assert cache_bytes(tmp_path / "none") == 8 * 2**20
