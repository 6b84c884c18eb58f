"""Scaling: the fit on known laws, rows of a small run, plots."""

from __future__ import annotations

import json

import pytest

from benchmarks.charts import figure_of
from benchmarks.scaling import ScalingSection, render
from benchmarks.section import Plan, Row

SMALL = ((64, 64), (96, 128))


def small() -> ScalingSection:
    return ScalingSection(sizes=SMALL, cameras=(1, 2))


def plan(*threads: int, budget_s: float = 0.0) -> Plan:
    return Plan(quick=True, threads=threads, budget_s={"scaling": budget_s})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    section = small()
    section.measure(plan(1, 2, budget_s=1.5), lambda _: None)
    read: list[Row] = json.loads(json.dumps(section.rows()))
    return read


def of(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def test_every_point_has_a_row(rows: list[Row]) -> None:
    found = [(row["threads"], row["size"], row["pixels"]) for row in of(rows, "pixels")]
    assert found == [(1, "64²", 4096), (1, "128×96", 12288), (2, "64²", 4096), (2, "128×96", 12288)]
    assert [row["batch"] for row in of(rows, "batch")] == [1, 2, 4, 8]
    assert [row["cameras"] for row in of(rows, "cameras")] == [1, 2]
    assert all(row["threads"] == 2 for row in of(rows, "batch") + of(rows, "cameras"))


def test_derived_figures_follow_from_the_median(rows: list[Row]) -> None:
    for row in of(rows, "pixels"):
        per_mpixel = figure_of(row, "p50_ms") * 1e6 / figure_of(row, "pixels")
        assert row["p50_ms_per_mpixel"] == pytest.approx(per_mpixel)
    for row in of(rows, "batch"):
        per_frame = figure_of(row, "p50_ms") / figure_of(row, "batch")
        assert row["p50_ms_per_frame"] == pytest.approx(per_frame)
    for row in of(rows, "cameras"):
        assert row["camera_fps"] == pytest.approx(1e3 / figure_of(row, "p50_ms"))
        total = figure_of(row, "camera_fps") * figure_of(row, "cameras")
        assert row["total_fps"] == pytest.approx(total)


def test_exponents_are_fitted_for_each_law(rows: list[Row]) -> None:
    fits = of(rows, "fit")
    assert [(row["of"], row["threads"], row["points"]) for row in fits] == [
        ("pixels", 1, 2),
        ("pixels", 2, 2),
        ("batch", 2, 4),
        ("cameras", 2, 2),
    ]


def test_it_renders_from_its_rows_alone(rows: list[Row]) -> None:
    rendered = render(rows)
    assert set(rendered.figures) == {"scaling_pixels", "scaling_batch", "scaling_cameras"}
    assert "**Exponent.**" in rendered.markdown
    assert "twice the cameras cost" in rendered.markdown
    labels = {stem: figure.axes[0].get_ylabel() for stem, figure in rendered.figures.items()}
    assert labels["scaling_pixels"].endswith("(ms)")


def test_an_interrupted_run_keeps_what_it_has() -> None:
    section = small()

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    assert section.rows() == []
    with pytest.raises(KeyboardInterrupt):
        section.measure(plan(1), stop)
    rows = section.rows()
    assert [row["size"] for row in of(rows, "pixels")] == ["64²"]
    assert not of(rows, "cameras")
    assert set(render(rows).figures) == {"scaling_pixels"}
