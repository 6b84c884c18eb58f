"""A matrix of models and test sets as tables, as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.manifest import Calibration
from training.evaluation.metrics import AUC, CONFIDENCE_PERCENT, Estimate
from training.evaluation.plots import INK, rendered
from training.evaluation.report import NOT_DEFINED, Grid, interval_text
from training.faces.matrix_figures import FILE, UNITS, Cell, Matrix, Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = "matrix.md"
PLOT = "matrix"
HEADING = "# Patchwatch faces: train set × test set"
ALL = "all fakes"
_METRICS = (AUC, "balanced accuracy")
_CELL_W, _CELL_H = 1.15, 0.62
_TITLES: dict[Unit, str] = {
    "video": "AUC per video (mean logit of its faces)",
    "frame": "AUC per face of a frame",
}


def grids(matrix: Matrix) -> Iterator[Grid]:
    """The tables: train set by test set first, then each manipulation."""
    names = tuple(test.name for test in matrix.tests)
    for unit, metric in product(UNITS, _METRICS):
        rows = tuple(
            (m.name, *(_text(matrix.cell(m.name, name, None, unit), metric) for name in names))
            for m in matrix.models
        )
        yield Grid(f"{metric} per {unit}", ("trained on ＼ tested on", *names), rows, 1)
    head = tuple(f"{metric} per {unit}" for unit, metric in product(UNITS, _METRICS))
    for name in names:
        rows = tuple(
            (
                kind,
                m.name,
                *(
                    _text(matrix.cell(m.name, name, kind, unit), metric)
                    for unit, metric in product(UNITS, _METRICS)
                ),
            )
            for kind in matrix.manipulations(name)
            for m in matrix.models
        )
        if rows:
            yield Grid(f"manipulations of {name}", ("manipulation", "trained on", *head), rows, 2)


def _text(cell: Cell | None, metric: str) -> str:
    if cell is None:
        return NOT_DEFINED
    return interval_text(cell.auc if metric == AUC else cell.balanced_accuracy, metric)


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
    tests = tuple(
        (test.name, test.split, kind, str(count), str(test.faces[kind]))
        for test in matrix.tests
        for kind, count in test.videos.items()
    )
    columns = ("test set", "split", "kind", "videos with faces", "faces")
    parts += ["## What was tested on", Grid("", columns, tests, 3).markdown()]
    models = tuple(
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
    head = ("model", "file", "sha256", "architecture", "threshold", "trained on")
    parts += ["## Models", Grid("", head, models, 6).markdown()]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(matrix))]
    return "\n\n".join(parts) + "\n"


def files(matrix: Matrix) -> dict[str, bytes]:
    """Name → content of everything that is written."""
    text = matrix.model_dump_json(by_alias=True, indent=1) + "\n"
    drawn = rendered(heat_table(matrix), PLOT, ("png", "svg"))
    return {FILE: text.encode(), PAGE: page(matrix).encode(), **drawn}


def heat_table(matrix: Matrix) -> Figure:
    """AUC as colour and number: a panel per video and one per frame, models by test sets."""
    from matplotlib.figure import Figure

    columns = [
        (test.name, kind)
        for test in matrix.tests
        for kind in (None, *matrix.manipulations(test.name))
    ]
    width = max(5.0, 1.8 + _CELL_W * len(columns))
    height = 1.1 + len(UNITS) * (1.25 + _CELL_H * len(matrix.models))
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle("Trained on (rows), tested on (columns)", color=INK, fontsize=12)
    for index, unit in enumerate(UNITS):
        _panel(figure.add_subplot(len(UNITS), 1, index + 1), matrix, unit, columns)
    return figure


def _panel(axes: Axes, matrix: Matrix, unit: Unit, columns: list[tuple[str, str | None]]) -> None:
    cells = [[matrix.cell(m.name, *column, unit) for column in columns] for m in matrix.models]
    aucs = [[cell.auc if cell else None for cell in row] for row in cells]
    values = np.array([[x[0] if x else np.nan for x in row] for row in aucs], dtype=np.float64)
    axes.imshow(np.ma.masked_invalid(values), cmap="RdYlBu", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_facecolor("#EEEEEE")
    axes.set_title(_TITLES[unit], color=INK, fontsize=10, loc="left")
    names = [f"{test}\n{ALL if kind is None else kind}" for test, kind in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=8)
    axes.set_yticks(range(len(matrix.models)), [m.name for m in matrix.models], fontsize=9)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(values.shape):
        _write(axes, column, row, aucs[row][column])
    # White rules between cells, and a wider one where another test set begins.
    axes.hlines(np.arange(len(aucs) - 1) + 0.5, -0.5, len(columns) - 0.5, "white", linewidth=1.5)
    widths = [6.0 if kind is None else 1.5 for _, kind in columns[1:]]
    axes.vlines(np.arange(len(widths)) + 0.5, -0.5, len(aucs) - 0.5, "white", linewidth=widths)


def _write(axes: Axes, column: int, row: int, auc: Estimate | None) -> None:
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    if auc is None:
        axes.text(column, row, NOT_DEFINED, color=INK, fontsize=8, **centred)
        return
    value, low, high = auc
    # The map is dark at both ends.
    colour = "white" if value < 0.15 or value > 0.85 else INK
    axes.text(column, row - 0.13, f"{value:.2f}", color=colour, fontsize=11, **centred)
    between = f"{low:.2f} to {high:.2f}"
    axes.text(column, row + 0.24, between, color=colour, fontsize=7, **centred)
