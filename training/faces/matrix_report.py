"""A matrix of models and test sets as tables, as Markdown and as a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edge.manifest import Calibration
from training.evaluation.bootstrap import CONFIDENCE_PERCENT, Estimate
from training.evaluation.metrics import AUC
from training.evaluation.plots import INK
from training.evaluation.tables import NOT_DEFINED, Grid, interval_text
from training.faces.matrix_figures import FILE, UNITS, Cell, Matrix, Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = "matrix.md"
PLOT = "matrix"
HEADING = "# Patchwatch faces: train set × test set"
ALL = "all fakes"
_BALANCED = "balanced accuracy"
_DPI = 150
_CELL_W, _CELL_H = 1.15, 0.62
_TITLES: dict[Unit, str] = {
    "video": "AUC per video (mean logit of its faces)",
    "frame": "AUC per face of a frame",
}


def grids(matrix: Matrix) -> Iterator[Grid]:
    """The tables: train set by test set first, then each manipulation."""
    for unit in UNITS:
        yield _by_test(matrix, unit, AUC)
        yield _by_test(matrix, unit, _BALANCED)
    for test in matrix.tests:
        if matrix.manipulations(test.name):
            yield _by_manipulation(matrix, test.name)


def _by_test(matrix: Matrix, unit: Unit, metric: str) -> Grid:
    names = tuple(test.name for test in matrix.tests)
    rows = tuple(
        (m.name, *(_text(matrix.cell(m.name, name, None, unit), metric) for name in names))
        for m in matrix.models
    )
    return Grid(f"{metric} per {unit}", ("trained on ＼ tested on", *names), rows, 1)


def _by_manipulation(matrix: Matrix, test: str) -> Grid:
    rows = tuple(
        (kind, m.name, *_manipulation_cells(matrix, m.name, test, kind))
        for kind in matrix.manipulations(test)
        for m in matrix.models
    )
    head = tuple(f"{metric} per {unit}" for unit in UNITS for metric in (AUC, _BALANCED))
    return Grid(f"manipulations of {test}", ("manipulation", "trained on", *head), rows, 2)


def _manipulation_cells(matrix: Matrix, model: str, test: str, kind: str) -> Iterator[str]:
    for unit in UNITS:
        for metric in (AUC, _BALANCED):
            yield _text(matrix.cell(model, test, kind, unit), metric)


def _text(cell: Cell | None, metric: str) -> str:
    return interval_text(_estimate(cell, metric), metric)


def _estimate(cell: Cell | None, metric: str) -> Estimate | None:
    if cell is None:
        return None
    return cell.auc if metric == AUC else cell.balanced_accuracy


def notes(matrix: Matrix) -> Iterator[str]:
    """Sentences that belong to the figures."""
    yield from matrix.missing
    yield (
        f"Intervals are {CONFIDENCE_PERCENT:g} % and resample whole videos, real ones and fakes "
        f"apart ({matrix.draws} draws, seed {matrix.seed})."
    )
    for test in matrix.tests:
        few = [f"{count} {kind}" for kind, count in test.videos.items() if count < 10]
        if few:
            videos = f"{', '.join(few)} {'video' if few == ['1 real'] else 'videos'}"
            yield f"{test.name} has only {videos}: those intervals are rough, mostly too narrow."
    for model in matrix.models:
        if model.calibration == Calibration():
            yield f"{model.name} is not calibrated: its threshold is a raw logit of 0."


def page(matrix: Matrix) -> str:
    """The whole report as Markdown."""
    commit = f", commit `{matrix.commit[:12]}`" if matrix.commit else ""
    parts = [HEADING, f"{matrix.time[:10]}{commit}.", f"![heat table]({PLOT}.png)"]
    for grid in grids(matrix):
        parts += [f"## {grid.title}", grid.markdown()]
    parts += ["## What was tested on", _tests_grid(matrix).markdown()]
    parts += ["## Models", _models_grid(matrix).markdown()]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(matrix))]
    return "\n\n".join(parts) + "\n"


def _tests_grid(matrix: Matrix) -> Grid:
    rows = tuple(
        (test.name, test.split, kind, str(count), str(test.faces[kind]))
        for test in matrix.tests
        for kind, count in test.videos.items()
    )
    return Grid("", ("test set", "split", "kind", "videos with faces", "faces"), rows, 3)


def _models_grid(matrix: Matrix) -> Grid:
    head = ("model", "file", "sha256", "architecture", "threshold", "trained on")
    rows = tuple(
        (
            m.name,
            m.file,
            f"`{m.sha256[:12]}`",
            f"{m.architecture}, {m.size} px",
            f"{m.calibration.threshold:.2f}",
            m.trained_on,
        )
        for m in matrix.models
    )
    return Grid("", head, rows, 6)


def files(matrix: Matrix) -> dict[str, bytes]:
    """Name → content of everything that is written."""
    figure = heat_table(matrix)
    drawn: dict[str, bytes] = {}
    for suffix in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=_DPI)
        drawn[f"{PLOT}.{suffix}"] = buffer.getvalue()
    text = matrix.model_dump_json(by_alias=True, indent=1) + "\n"
    return {FILE: text.encode(), PAGE: page(matrix).encode(), **drawn}


def heat_table(matrix: Matrix) -> Figure:
    """AUC as colour and number: a panel per video and one per frame, models by test sets."""
    from matplotlib.figure import Figure

    columns = _columns(matrix)
    width = max(5.0, 1.8 + _CELL_W * len(columns))
    height = 1.1 + len(UNITS) * (1.25 + _CELL_H * len(matrix.models))
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle("Trained on (rows), tested on (columns)", color=INK, fontsize=12)
    for index, unit in enumerate(UNITS):
        _panel(figure.add_subplot(len(UNITS), 1, index + 1), matrix, unit, columns)
    return figure


def _columns(matrix: Matrix) -> list[tuple[str, str | None]]:
    return [
        (test.name, kind)
        for test in matrix.tests
        for kind in (None, *matrix.manipulations(test.name))
    ]


def _panel(axes: Axes, matrix: Matrix, unit: Unit, columns: list[tuple[str, str | None]]) -> None:
    cells = [[matrix.cell(m.name, *column, unit) for column in columns] for m in matrix.models]
    values = np.array([[_value(cell) for cell in row] for row in cells], dtype=np.float64)
    axes.imshow(np.ma.masked_invalid(values), cmap="RdYlBu", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_facecolor("#EEEEEE")
    axes.set_title(_TITLES[unit], color=INK, fontsize=10, loc="left")
    axes.set_xticks(range(len(columns)), [_column_text(*c) for c in columns], fontsize=8)
    axes.set_yticks(range(len(matrix.models)), [m.name for m in matrix.models], fontsize=9)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            _write(axes, column, row, cell)
    _part_sets(axes, columns, len(matrix.models))


def _value(cell: Cell | None) -> float:
    return cell.auc[0] if cell is not None and cell.auc is not None else float("nan")


def _column_text(test: str, kind: str | None) -> str:
    return f"{test}\n{ALL if kind is None else kind}"


def _write(axes: Axes, column: int, row: int, cell: Cell | None) -> None:
    if cell is None or cell.auc is None:
        axes.text(column, row, NOT_DEFINED, ha="center", va="center", color=INK, fontsize=8)
        return
    value, low, high = cell.auc
    # The map is dark at both ends.
    colour = "white" if value < 0.15 or value > 0.85 else INK
    axes.text(
        column, row - 0.13, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=11
    )
    axes.text(
        column,
        row + 0.24,
        f"{low:.2f} to {high:.2f}",
        ha="center",
        va="center",
        color=colour,
        fontsize=7,
    )


def _part_sets(axes: Axes, columns: list[tuple[str, str | None]], rows: int) -> None:
    """White rules between cells, and a wider one where another test set begins."""
    for row in range(1, rows):
        axes.axhline(row - 0.5, color="white", linewidth=1.5)
    for index in range(1, len(columns)):
        begins = columns[index][1] is None
        axes.axvline(index - 0.5, color="white", linewidth=6 if begins else 1.5)
