"""The roofline: arithmetic by hand, rows of a small run, and what is absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import roofline
from benchmarks.charts import figure_of
from benchmarks.roofline import RooflineSection, last_level_cache_bytes, limit_ms, place, render
from benchmarks.section import Plan, Row

SMALL = ((64, 64), (96, 128))
ARRAY_BYTES = 2**20


def small() -> RooflineSection:
    return RooflineSection(sizes=SMALL, array_bytes=ARRAY_BYTES)


def plan(*threads: int) -> Plan:
    return Plan(quick=True, threads=threads, budget_s={"roofline": 0.0})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    section = small()
    ticks: list[str] = []
    section.measure(plan(1, 2), ticks.append)
    assert len(ticks) == section.steps(plan(1, 2))
    read: list[Row] = json.loads(json.dumps(section.rows()))
    return read


def of(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def best(probes: list[Row], measures: str, key: str) -> dict[str, float]:
    ordered = sorted((p for p in probes if key in p), key=lambda p: figure_of(p, key))
    return {str(p["name"]): figure_of(p, key) for p in ordered if p["measures"] == measures}


def test_work_below_the_ridge_is_bound_by_memory() -> None:
    # 2 GFLOP that move 1 GB in 100 ms, on a machine of 100 GFLOP/s and 20 GB/s.
    placed = place(2e9, 1e9, 100.0, peak_gflops=100.0, bandwidth_gb_s=20.0)
    assert placed == pytest.approx(
        {
            "flop_per_byte": 2.0,
            "p50_gflops": 20.0,
            "allowed_gflops": 40.0,
            "share_of_peak_percent": 20.0,
            "share_of_bandwidth_percent": 50.0,
            "share_of_limit_percent": 50.0,
            "binds": "memory",
        }
    )


def test_work_above_the_ridge_is_bound_by_compute() -> None:
    placed = place(10e9, 1e9, 200.0, peak_gflops=100.0, bandwidth_gb_s=20.0)
    assert placed["binds"] == "compute"
    assert placed["allowed_gflops"] == 100.0
    assert placed["share_of_limit_percent"] == pytest.approx(50.0)


def test_the_least_time_is_the_longer_of_computing_and_moving() -> None:
    assert limit_ms(1e9, 1e6, peak_gflops=100, bandwidth_gb_s=10) == pytest.approx(10.0)
    assert limit_ms(1e6, 1e9, peak_gflops=100, bandwidth_gb_s=10) == pytest.approx(100.0)


def test_the_limit_is_the_best_probe_of_no_more_threads(rows: list[Row]) -> None:
    limits = of(rows, "limit")
    assert [row["threads"] for row in limits] == [1, 2]
    for limit in limits:
        threads = figure_of(limit, "threads")
        probes = [p for p in of(rows, "probe") if figure_of(p, "threads") <= threads]
        rates = best(probes, "compute", "best_gflops")
        speeds = best(probes, "bandwidth", "best_gb_s")
        assert len(rates) >= 3
        assert len(speeds) >= 2
        assert limit["peak_gflops"] == max(rates.values()) == rates[str(limit["peak_by"])]
        assert limit["bandwidth_gb_s"] == max(speeds.values()) == speeds[str(limit["bandwidth_by"])]


def test_bytes_of_the_probes_are_counted_with_and_without_write_allocate(rows: list[Row]) -> None:
    extra = {
        row["name"]: figure_of(row, "best_with_write_allocate_gb_s") / figure_of(row, "best_gb_s")
        for row in of(rows, "probe")
        if "array_mib" in row
    }
    assert extra["NumPy copy"] == pytest.approx(3 / 2)
    assert extra["torch copy"] == pytest.approx(3 / 2)
    assert extra["torch triad"] == pytest.approx(4 / 3)
    assert extra["torch sum"] == pytest.approx(1)


def test_a_copy_counts_what_it_reads_and_what_it_writes(rows: list[Row]) -> None:
    copy = next(row for row in rows if row.get("name") == "torch copy")
    assert copy["array_mib"] == ARRAY_BYTES / 2**20
    best_s = figure_of(copy, "best_ms") / 1e3
    assert copy["best_gb_s"] == pytest.approx(2 * ARRAY_BYTES / best_s / 1e9)


def test_the_model_has_a_row_for_each_size_and_number_of_threads(rows: list[Row]) -> None:
    scored = of(rows, "model")
    assert [(row["size"], row["threads"]) for row in scored] == [
        ("64²", 1),
        ("128×96", 1),
        ("64²", 2),
        ("128×96", 2),
    ]
    for row in scored:
        macs, p50_ms = figure_of(row, "macs"), figure_of(row, "p50_ms")
        assert row["p50_gflops"] == pytest.approx(2 * macs / p50_ms / 1e6)
        assert figure_of(row, "least_traffic_mb") < figure_of(row, "traffic_mb")
        assert figure_of(row, "repeats") >= 1


def test_it_renders_from_its_rows_alone(rows: list[Row]) -> None:
    rendered = render(rows)
    assert "128×96" in rendered.markdown
    assert "NumPy copy" in rendered.markdown
    axes = rendered.figures["roofline"].axes[0]
    assert "FLOP per byte" in axes.get_xlabel()
    assert "64², 1 thread" in [text.get_text() for text in axes.texts]


def test_an_interrupted_run_keeps_what_it_has() -> None:
    section = small()

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        section.measure(plan(1), stop)
    rows = section.rows()
    assert of(rows, "probe")
    assert not of(rows, "model")
    render(rows)


def test_before_it_measured_there_are_no_rows() -> None:
    assert small().rows() == []
    assert render([]).markdown == ""


def test_absent_libraries_leave_a_row_and_what_can_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roofline, "_is_installed", lambda _: False)
    section = small()
    section.measure(plan(1), lambda _: None)
    rows = section.rows()
    assert [row["name"] for row in rows if "missing" in row] == ["torch", "onnx"]
    assert {row["name"] for row in rows if "missing" not in row} <= {"NumPy copy", "NumPy product"}
    assert "pip install torch" in render(rows).markdown


def test_the_last_level_cache_is_the_largest(tmp_path: Path) -> None:
    for index, size in enumerate(("48K", "1024K", "32M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n", encoding="utf-8")
    assert last_level_cache_bytes(tmp_path) == 32 * 2**20


def test_a_system_that_does_not_say_gets_an_assumed_cache(tmp_path: Path) -> None:
    assert last_level_cache_bytes(tmp_path) == 8 * 2**20
