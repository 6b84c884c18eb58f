"""Plots of an evaluation: ROC curves, reliability, scores per class."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from edge.manifest import Calibration
from training.evaluation.measured import Evaluation, Logits, auc
from training.evaluation.metrics import roc
from training.evaluation.record import Judged, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind too (Okabe and Ito, 2008)."""

REAL_COLOUR, FAKE_COLOUR = COLOURS[0], COLOURS[1]
INK, FAINT = "#333333", "#DDDDDD"
BINS = 10
LEAST_IN_BIN = 5
_PANEL = 3.4
_ACROSS = 3


def draw_plots(record: Record) -> dict[str, Figure]:
    """Name of the file without suffix → plot."""
    return {"roc": roc_plot(record), "reliability": reliability_plot(record), **_scores(record)}


def roc_plot(record: Record) -> Figure:
    """A panel for each degradation with a line for each model, all generators together."""
    figure, panels = _panels(len(record.columns), "Found against false alarms, all generators")
    for axes, column in zip(panels, record.columns, strict=True):
        axes.set_title(column, color=INK, fontsize=10)
        axes.plot([0, 1], [0, 1], color="#AAAAAA", linewidth=0.8, linestyle=":")
        for index, model in enumerate(record.models):
            reals, fakes = _sides(record.evaluation(model), column)
            if len(reals) and len(fakes):
                label = f"AUC {auc(reals, fakes):.3f}"
                axes.plot(*roc(reals, fakes), color=_colour(index), label=label, linewidth=1.6)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_aspect("equal")
        _legend(axes, "lower right")
    _name_axes(panels, "photographs above the threshold", "generated above it")
    _shared_legend(figure, [model.name for model in record.models])
    return figure


def reliability_plot(record: Record) -> Figure:
    """A panel for each model with a line for each degradation: score against share of fakes."""
    figure, panels = _panels(len(record.models), "Reliability, both classes weighing the same")
    for axes, model in zip(panels, record.models, strict=True):
        axes.set_title(model.name, color=INK, fontsize=10)
        axes.plot([0, 1], [0, 1], color="#AAAAAA", linewidth=0.8, linestyle=":")
        for index, column in enumerate(record.columns):
            reals, fakes = _sides(record.evaluation(model), column)
            points = reliability(scores(reals, model.calibration), scores(fakes, model.calibration))
            axes.plot(*points, color=_colour(index), marker="o", markersize=3.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
    _name_axes(panels, "mean score in the bin", "share of generated pictures")
    _shared_legend(figure, record.columns)
    return figure


def reliability(
    reals: Logits, fakes: Logits
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean score and share of fakes in ten bins of equal width.

    Each class weighs one half in all, as in the fit; bins of fewer than `LEAST_IN_BIN` pictures
    are left out.

    Args:
        reals: scores of photographs, 0..1.
        fakes: scores of generated pictures.
    """
    values = np.concatenate([reals, fakes])
    fake = np.arange(len(values)) >= len(reals)
    weights = np.where(fake, 0.5 / max(len(fakes), 1), 0.5 / max(len(reals), 1))
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    points = [
        (np.average(values[here], weights=weights[here]), weights[here & fake].sum() / total)
        for here in (bins == index for index in range(BINS))
        if here.sum() >= LEAST_IN_BIN and (total := weights[here].sum()) > 0
    ]
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def scores(logits: Logits, calibration: Calibration) -> Logits:
    """Calibrated scores of finite logits."""
    return np.array([calibration.score(float(x)) for x in logits], dtype=np.float64)


def _scores(record: Record) -> dict[str, Figure]:
    numbered = enumerate(record.models, start=1)
    return {f"scores-{number}": scores_plot(record, model) for number, model in numbered}


def scores_plot(record: Record, model: Judged) -> Figure:
    """A panel for each degradation: how the scores of both classes lie, and the threshold."""
    figure, panels = _panels(len(record.columns), f"Scores of {model.name}")
    threshold = model.calibration.threshold
    edges = np.linspace(0, 1, 2 * BINS + 1).tolist()
    for axes, column in zip(panels, record.columns, strict=True):
        sides = _sides(record.evaluation(model), column)
        axes.set_title(column, color=INK, fontsize=10)
        for logits, name, colour in zip(
            sides, ("photographs", "generated"), (REAL_COLOUR, FAKE_COLOUR), strict=True
        ):
            values = scores(logits, model.calibration)
            share = np.full(len(values), 100 / max(len(values), 1))
            axes.hist(values, edges, weights=share, color=colour, alpha=0.55, label=name)
        axes.axvline(
            threshold, color=INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.2f}"
        )
        axes.set_xlim(0, 1)
        _legend(axes, "best")
    _name_axes(panels, "score", "share of the class, %")
    return figure


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    across = min(count, _ACROSS)
    rows = ceil(count / across)
    size = (max(across * _PANEL, 5.0) + 0.4, rows * (_PANEL + 0.3) + 0.7)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=12)
    panels = [figure.add_subplot(rows, across, index + 1) for index in range(count)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, colors=INK)
    return figure, panels


def _name_axes(panels: Sequence[Axes], x_label: str, y_label: str) -> None:
    for axes in panels:
        axes.set_xlabel(x_label, color=INK, fontsize=8)
        axes.set_ylabel(y_label, color=INK, fontsize=8)


def _legend(axes: Axes, place: Literal["best", "lower right"]) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=7, frameon=True, framealpha=0.85, edgecolor="none")


def _shared_legend(figure: Figure, names: Sequence[str]) -> None:
    """Below all panels, where it covers no curve."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=_colour(index), label=n) for index, n in enumerate(names)]
    across = 3 if max(map(len, names)) < 28 else 2
    figure.legend(
        handles=lines, loc="outside lower center", ncols=across, fontsize=8, frameon=False
    )


def _sides(evaluation: Evaluation, column: str) -> tuple[Logits, Logits]:
    reals, fakes = evaluation.of_label(column, 0), evaluation.of_label(column, 1)
    return reals[np.isfinite(reals)], fakes[np.isfinite(fakes)]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
