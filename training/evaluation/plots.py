"""Plots of an evaluation: ROC curves, reliability, scores per class, and the surest mistakes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import ceil
from textwrap import shorten
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from edge.errors import SourceError
from edge.sources.images import read_image
from training.evaluation.metrics import scores
from training.evaluation.record import Item, Logits, Record, ScoredModel, auc
from training.faces.sampling import sampled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Distinct to the colour-blind too (Okabe and Ito, 2008)."""

REAL_COLOUR, FAKE_COLOUR = COLOURS[0], COLOURS[1]
INK, FAINT = "#333333", "#DDDDDD"
BINS, LEAST_IN_BIN = 10, 5
SHEET, SHEET_ACROSS, SHEET_MOST = "errors", 4, 8
_PANEL, _ACROSS, _TILE_PX, _DPI = 3.4, 3, 320, 150
_GROUPS = (
    (0, "Photographs called fake", FAKE_COLOUR),
    (1, "Generated pictures called real", REAL_COLOUR),
)


def rendered(figure: Figure, name: str, suffixes: Sequence[str]) -> dict[str, bytes]:
    """File name → content; the same figure gives the same bytes."""
    import matplotlib

    made = {}
    for suffix in suffixes:
        data = io.BytesIO()
        # Without the version of the library, the time and random names.
        metadata = {"Software": None} if suffix == "png" else {"Date": None}
        with matplotlib.rc_context({"svg.hashsalt": "patchwatch"}):
            figure.savefig(data, format=suffix, dpi=_DPI, metadata=metadata)
        made[f"{name}.{suffix}"] = data.getvalue()
    return made


def draw_plots(record: Record) -> tuple[dict[str, tuple[str, Figure]], list[str]]:
    """File name without suffix → caption and plot; and why some sheets cannot be drawn."""
    plots = {
        "roc": ("ROC curves", roc_plot(record)),
        "reliability": ("reliability", reliability_plot(record)),
    }
    problems = []
    for number, model in enumerate(record.models, start=1):
        plots[f"scores-{number}"] = (f"scores of {model.name}", scores_plot(record, model))
        try:
            sheet = error_sheet(record, model)
        except SourceError as error:
            problems.append(f"No contact sheet of {model.name}: {error}")
            continue
        if sheet is not None:
            plots[f"{SHEET}-{number}"] = (f"errors of {model.name}", sheet)
    return plots, problems


def roc_plot(record: Record) -> Figure:
    """A panel for each degradation with a line for each model, all generators together."""
    from sklearn.metrics import roc_curve  # type: ignore[import-untyped]

    labels = ("photographs above the threshold", "generated above it")
    figure, panels = _panels(record.columns, "Found against false alarms, all generators", labels)
    for axes, column in zip(panels, record.columns, strict=True):
        _square(axes)
        for index, model in enumerate(record.models):
            reals, fakes = _sides(record, model, column)
            if len(reals) and len(fakes):
                truth = np.repeat([0, 1], [len(reals), len(fakes)])
                alarms, found, _ = roc_curve(truth, np.concatenate([reals, fakes]))
                label = f"AUC {auc(reals, fakes):.3f}"
                axes.plot(alarms, found, color=_colour(index), label=label, linewidth=1.6)
        if axes.lines[1:]:
            axes.legend(loc="lower right", fontsize=7, edgecolor="none")
    _shared_legend(figure, [model.name for model in record.models])
    return figure


def reliability_plot(record: Record) -> Figure:
    """A panel for each model with a line for each degradation: score against share of fakes."""
    names = [model.name for model in record.models]
    labels = ("mean score in the bin", "share of generated pictures")
    figure, panels = _panels(names, "Reliability, both classes weighing the same", labels)
    for axes, model in zip(panels, record.models, strict=True):
        _square(axes)
        for index, column in enumerate(record.columns):
            sides = (scores(x, model.calibration) for x in _sides(record, model, column))
            axes.plot(*reliability(*sides), color=_colour(index), marker="o", markersize=3.5)
    _shared_legend(figure, record.columns)
    return figure


def reliability(reals: Logits, fakes: Logits) -> tuple[Logits, Logits]:
    """Mean score and share of fakes in ten bins of equal width.

    Each class weighs one half in all, as in the fit; bins of fewer than `LEAST_IN_BIN` pictures
    are left out.

    Args:
        reals: scores of photographs, 0..1.
        fakes: scores of generated pictures.
    """
    values = np.concatenate([reals, fakes])
    fake = np.repeat([False, True], [len(reals), len(fakes)])
    weights = np.where(fake, 0.5 / max(len(fakes), 1), 0.5 / max(len(reals), 1))
    counts, total, scored, faked = (
        np.histogram(values, BINS, (0, 1), weights=w)[0]
        for w in (None, weights, weights * values, weights * fake)
    )
    kept = counts >= LEAST_IN_BIN
    return scored[kept] / total[kept], faked[kept] / total[kept]


def scores_plot(record: Record, model: ScoredModel) -> Figure:
    """A panel for each degradation: how the scores of both classes lie, and the threshold."""
    labels = ("score", "share of the class, %")
    figure, panels = _panels(record.columns, f"Scores of {model.name}", labels)
    threshold = model.calibration.threshold
    edges = np.linspace(0, 1, 2 * BINS + 1).tolist()
    for axes, column in zip(panels, record.columns, strict=True):
        sides = zip(_sides(record, model, column), ("photographs", "generated"), strict=True)
        for (logits, name), colour in zip(sides, (REAL_COLOUR, FAKE_COLOUR), strict=True):
            share = np.full(len(logits), 100 / max(len(logits), 1))
            values = scores(logits, model.calibration)
            axes.hist(values, edges, weights=share, color=colour, alpha=0.55, label=name)
        line = f"threshold {threshold:.2f}"
        axes.axvline(threshold, color=INK, linewidth=1, linestyle="--", label=line)
        axes.set_xlim(0, 1)
        axes.legend(loc="best", fontsize=7, edgecolor="none")
    return figure


class Mistake(NamedTuple):
    """A picture on the wrong side of the threshold, and the column where it is furthest there."""

    score: float
    item: Item
    column: str


def worst(record: Record, model: ScoredModel, label: int, most: int = SHEET_MOST) -> list[Mistake]:
    """The most confident mistakes on a label, the worst first, each picture at most once."""
    evaluation, calibration = record.evaluation(model), model.calibration
    found = []
    for index, item in enumerate(record.items):
        logits = {name: float(x[index]) for name, x in evaluation.logits.items()}
        finite = [(calibration.score(x), name) for name, x in logits.items() if np.isfinite(x)]
        if item.label == label and finite:
            score, column = (min if label else max)(finite)
            if (score > calibration.threshold) != bool(label):
                found.append(Mistake(score, item, column))
    return sorted(found, key=lambda mistake: mistake.score, reverse=not label)[:most]


def error_sheet(record: Record, model: ScoredModel) -> Figure | None:
    """Both kinds of mistakes as pictures, untouched, with source, score and degradation.

    None where there is no mistake.

    Raises:
        SourceError: a picture is no longer where it was.
    """
    from matplotlib.figure import Figure

    groups = [(worst(record, model, label), title, c) for label, title, c in _GROUPS]
    groups = [group for group in groups if group[0]]
    if not groups:
        return None
    rows = [ceil(len(mistakes) / SHEET_ACROSS) for mistakes, _, _ in groups]
    size = (2.4 * SHEET_ACROSS, 2.75 * sum(rows) + 0.4 * len(rows) + 0.5)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    title = f"{model.name}: the surest mistakes at threshold {model.calibration.threshold:.2f}"
    figure.suptitle(title, color=INK, fontsize=13)
    parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, (mistakes, title, colour), down in zip(parts, groups, rows, strict=True):
        part.suptitle(title, color=colour, fontsize=11, x=0.01, ha="left")
        grid = part.subplots(down, SHEET_ACROSS, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, mistake in zip(grid, mistakes, strict=False):
            axes.imshow(_thumbnail(record, mistake.item))
            source = shorten(mistake.item.source, 30, placeholder="…")
            text = f"{source}\nscore {mistake.score:.3f}, {mistake.column}"
            axes.set_title(text, color=INK, fontsize=8)
    return figure


def _thumbnail(record: Record, item: Item) -> PillowImage.Image:
    """The middle square of a picture, or of a video's first frame."""
    path = record.path(item)
    image = next(sampled(path, record.fps or 1.0)).image if item.video else read_image(path)
    whole = PillowImage.fromarray(np.ascontiguousarray(image[..., ::-1]))
    side = min(*whole.size, _TILE_PX)
    return ImageOps.fit(whole, (side, side))


def _panels(
    titles: Sequence[str], title: str, labels: tuple[str, str]
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    across = min(len(titles), _ACROSS)
    rows = ceil(len(titles) / across)
    size = (max(across * _PANEL, 5.0) + 0.4, rows * (_PANEL + 0.3) + 0.7)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=12)
    panels = [figure.add_subplot(rows, across, index + 1) for index in range(len(titles))]
    for axes, name in zip(panels, titles, strict=True):
        axes.set_title(name, color=INK, fontsize=10)
        axes.set_xlabel(labels[0], color=INK, fontsize=8)
        axes.set_ylabel(labels[1], color=INK, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, colors=INK)
    return figure, panels


def _square(axes: Axes) -> None:
    """Both axes from 0 to 1, with the diagonal."""
    axes.plot([0, 1], [0, 1], color="#AAAAAA", linewidth=0.8, linestyle=":")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def _shared_legend(figure: Figure, names: Sequence[str]) -> None:
    """Below all panels, where it covers no curve."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=_colour(index), label=n) for index, n in enumerate(names)]
    across = 3 if max(map(len, names)) < 28 else 2
    figure.legend(
        handles=lines, loc="outside lower center", ncols=across, fontsize=8, frameon=False
    )


def _sides(record: Record, model: ScoredModel, column: str) -> tuple[Logits, Logits]:
    usable = record.evaluation(model).finite(column)
    return usable.of_label(column, 0), usable.of_label(column, 1)


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
