"""Tables and the plot, from rows written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compute import render
from benchmarks.compute.forms import per_layer
from benchmarks.compute.report import layers_markdown
from benchmarks.section import Row

SIZES = ((256, 256), (1080, 1920))


def row(model: str, form: str, size: tuple[int, int], parameters: int, macs: int) -> Row:
    return {
        "model": model,
        "preprocessing": "x_grad",
        "form": form,
        "height_px": size[0],
        "width_px": size[1],
        "parameters": parameters,
        "macs": macs,
        "flops": 2 * macs,
        "traffic_bytes": macs // 10,
        "intensity_flops_per_byte": 20.0,
    }


def lines_of(markdown: str) -> list[str]:
    """Lines, the cells of tables without their padding."""
    return [
        " | ".join(cell.strip() for cell in line.split("|")).strip()
        for line in markdown.splitlines()
    ]


def rows() -> list[Row]:
    student = [
        row("tiny_ladeda", form, size, parameters, macs)
        for form, parameters, macs in (("folded", 2463, 60_000_000), ("naive", 1000, 50_000_000))
        for size in SIZES
    ]
    return [
        *student,
        *(row("ladeda9", "naive", size, 12_000_000, 20_000_000_000) for size in SIZES),
    ]


def test_models_are_rows_and_sizes_are_columns() -> None:
    text = render(rows()).markdown
    lines = lines_of(text)
    assert "| Model | Graph | Parameters | 256² | 1080p |" in lines
    published = "| Tiny-LaDeDa, x_grad | as published | 1,000 | 50.0 M / 100 M | 50.0 M / 100 M |"
    executed = (
        "| Tiny-LaDeDa, x_grad | folded, executed | 2,463 | 60.0 M / 120 M | 60.0 M / 120 M |"
    )
    assert lines.index(published) < lines.index(executed)
    assert "| LaDeDa-9, x_grad | as published | 2,000.0 (20.0) | 2,000.0 (20.0) |" in lines
    assert "FLOPs are 2·MACs" in text and "packed" in text


def test_ratios_stand_beside_those_of_the_paper() -> None:
    lines = lines_of(render(rows()).markdown)
    assert "| as published | x_grad | 12,000× | 400× | 400× |" in lines
    assert "| the paper |  | 10,000× | 375× | 375× |" in lines


def test_a_size_that_was_not_reached_is_a_dash() -> None:
    lines = lines_of(render(rows()[:-1]).markdown)
    assert any("| 20.0 G / 40.0 G | – |" in line for line in lines)
    assert "| as published | x_grad | 12,000× | 400× | – |" in lines


def test_what_is_missing_is_named() -> None:
    lacking: Row = {
        "model": "ladeda33",
        "preprocessing": "x_grad",
        "form": "folded",
        "missing": "No time.",
    }
    expected = "- LaDeDa-33, x_grad, folded, executed: No time."
    assert expected in lines_of(render([*rows(), lacking]).markdown)
    alone = render([lacking])
    assert (alone.markdown, dict(alone.figures)) == (expected, {})
    assert render([]).markdown == ""


def test_the_plot_is_logarithmic_and_labelled(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lite = row("lite0_levels", "folded", SIZES[0], 3_000_000, 500_000_000)
    (figure,) = render([*rows(), lite]).figures.values()
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "FLOPs" in axes.get_ylabel() and "Parameters" in axes.get_xlabel()
    assert {text.get_text() for text in axes.texts} == {
        "Tiny-LaDeDa\n(x_grad)",
        "LaDeDa-9",
        "lite0_levels",
    }
    figure.savefig(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 5000


def test_layers_are_listed_with_their_sum() -> None:
    count = per_layer("tiny_ladeda", "x_grad", "naive", 64, 64)
    lines = lines_of(layers_markdown(count))
    assert lines[0].startswith("| Layer | Operator | Output | MACs")
    conv = next(line for line in lines if "model.layer1.0.conv2" in line)
    assert f"| {30 * 30 * 8 * 72:,} | {2 * 30 * 30 * 8 * 72:,} |" in conv
    assert f"| {count.macs:,} | {count.flops:,} | {count.traffic_bytes:,} |" in lines[-1]
