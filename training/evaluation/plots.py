"""Pictures of an evaluation: ROC curves, and the surest mistakes."""

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
from training.evaluation.record import Item, Record, ScoredModel, auc
from training.faces.sampling import sampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Distinct to the colour-blind too (Okabe and Ito, 2008)."""

INK, FAINT = "#333333", "#DDDDDD"
SHEET, SHEET_ACROSS, SHEET_MOST = "errors", 4, 8
_PANEL, _ACROSS, _TILE_PX, _DPI = 3.4, 3, 320, 150


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
    plots = {"roc": ("ROC curves", roc_plot(record))}
    problems = []
    for number, model in enumerate(record.models, start=1):
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
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve  # type: ignore[import-untyped]

    across = min(len(record.columns), _ACROSS)
    rows = ceil(len(record.columns) / across)
    size = (max(across * _PANEL, 5.0) + 0.4, rows * (_PANEL + 0.3) + 0.7)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle("Found against false alarms, all generators", color=INK, fontsize=12)
    panels = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in panels[len(record.columns) :]:
        axes.set_axis_off()
    for axes, column in zip(panels, record.columns, strict=False):
        axes.set_title(column, color=INK, fontsize=10)
        axes.set_xlabel("photographs above the threshold", color=INK, fontsize=8)
        axes.set_ylabel("generated above it", color=INK, fontsize=8)
        axes.grid(True, color=FAINT, linewidth=0.7)
        axes.plot([0, 1], [0, 1], color="#AAAAAA", linewidth=0.8, linestyle=":")
        axes.set_aspect("equal")
        for index, model in enumerate(record.models):
            usable = record.evaluation(model).finite(column)
            reals, fakes = usable.of_label(column, 0), usable.of_label(column, 1)
            if len(reals) and len(fakes):
                truth = np.repeat([0, 1], [len(reals), len(fakes)])
                alarms, found, _ = roc_curve(truth, np.concatenate([reals, fakes]))
                label = f"{shorten(model.name, 24)}: {auc(reals, fakes):.3f}"
                colour = COLOURS[index % len(COLOURS)]
                axes.plot(alarms, found, color=colour, label=label, linewidth=1.6)
        if axes.lines[1:]:
            axes.legend(loc="lower right", fontsize=7, edgecolor="none", title="AUC")
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

    titles = ("Photographs called fake", "Generated pictures called real")
    groups = [(worst(record, model, k), title) for k, title in enumerate(titles)]
    groups = [group for group in groups if group[0]]
    if not groups:
        return None
    rows = [ceil(len(mistakes) / SHEET_ACROSS) for mistakes, _ in groups]
    size = (2.4 * SHEET_ACROSS, 2.75 * sum(rows) + 0.4 * len(rows) + 0.5)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    title = f"{model.name}: the surest mistakes at threshold {model.calibration.threshold:.2f}"
    figure.suptitle(title, color=INK, fontsize=13)
    parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, (mistakes, title), down in zip(parts, groups, rows, strict=True):
        part.suptitle(title, color=INK, fontsize=11, x=0.01, ha="left")
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
