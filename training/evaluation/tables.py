"""The tables of an evaluation, in one form for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from edge.manifest import Calibration
from training.evaluation.bootstrap import CONFIDENCE_PERCENT, Estimate
from training.evaluation.metrics import AP, AUC, METRICS
from training.evaluation.summary import ColumnFigures, ModelFigures, Summary

NOT_DEFINED = "n/a"
_RATIOS = (AUC, AP)
"""Written as 0.912; the other measures are shares, written as 91.2 %."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text.

    Attributes:
        title: what it shows.
        head: names of the columns.
        rows: as many cells each.
        words: how many columns from the left hold words, not figures.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for index, name in enumerate(self.head):
            table.add_column(name, justify="left" if index < self.words else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Without the title and without a line break at the end."""
        rule = ["---" if i < self.words else "---:" for i in range(len(self.head))]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.head, rule, *self.rows)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def mean_grid(summary: Summary, metric: str) -> Grid:
    """Models by degradations: the mean over generators, with its interval."""
    return _by_model(
        summary,
        f"{metric}, mean per generator",
        lambda column: interval_text(column.mean[metric], metric),
    )


def generator_grid(summary: Summary, metric: str) -> Grid:
    """Generators and models by degradations."""
    return _by_source(
        summary,
        f"{metric} of each generator against all photographs",
        1,
        lambda column, name: interval_text(column.generators[name][metric], metric),
    )


def alarms_grid(summary: Summary) -> Grid:
    """Photograph sources and models by degradations: the share above the model's threshold."""
    return _by_source(
        summary,
        "photographs above the threshold",
        0,
        lambda column, name: interval_text(column.photographs[name], ""),
        lambda column: interval_text(column.false_alarms, ""),
    )


def measures_grid(summary: Summary, model: ModelFigures) -> Grid:
    """Degradations by all measures of one model, mean over generators, without intervals."""
    rows = tuple(
        (name, *(value_text(column.mean[m], m) for m in METRICS))
        for name, column in model.columns.items()
    )
    return Grid(f"{model.name}, mean per generator", ("degradation", *METRICS), rows, 1)


def detail_grid(summary: Summary, model: ModelFigures, column: str) -> Grid:
    """Generators by all measures of one model under one degradation."""
    found = model.columns[column]
    rows = tuple(
        (
            name,
            str(summary.count(1, name)),
            *(value_text(found.generators[name][m], m) for m in METRICS),
        )
        for name in summary.names(1)
    )
    return Grid(f"{model.name}, {column}", ("generator", "pictures", *METRICS), rows, 1)


def frames_grid(summary: Summary) -> Grid | None:
    """Models by degradations: AUC of single frames; None where there is no video."""
    if summary.fps is None:
        return None
    return _by_model(
        summary,
        "AUC of single frames, mean per generator",
        lambda column: NOT_DEFINED if column.frame_auc is None else f"{column.frame_auc:.3f}",
    )


def comparison_grid(summary: Summary) -> Grid | None:
    """Pairs of models under each degradation; None for a single model."""
    if not summary.comparisons:
        return None
    rows = tuple(
        (
            f"{pair.a} − {pair.b}",
            pair.column,
            _signed(pair.difference),
            NOT_DEFINED if pair.p is None else f"{pair.p:.3f}",
        )
        for pair in summary.comparisons
    )
    head = ("models", "degradation", "difference of the mean AUC", "p")
    return Grid("paired comparison", head, rows, 2)


def notes(summary: Summary) -> Iterator[str]:
    """Sentences that belong to the figures."""
    yield (
        f"Intervals are {CONFIDENCE_PERCENT:g} % and resample sources and the pictures of each "
        f"({summary.draws} draws, seed {summary.seed}); p is two-sided, from the same draws."
    )
    for label, word in enumerate(("photographs", "generators")):
        count = len(summary.names(label))
        if count == 1:
            yield f"All {word} are of one source: the intervals say nothing of another."
        elif count < 5:
            yield f"With {count} sources of {word} the intervals are rough, mostly too narrow."
    if summary.left_out:
        yield f"{summary.left_out} files could not be read and are left out."
    for model in summary.models:
        if model.calibration == Calibration():
            yield f"{model.name} is not calibrated: its threshold is a raw logit of 0."
        lost = max(column.without_logit for column in model.columns.values())
        if lost:
            yield f"{model.name} gave no logit for {lost} of the pictures: {model.failure}"


def about(summary: Summary) -> str:
    """What was judged, when and with which code, in one sentence."""
    counts = [
        f"{summary.count(label)} {word} ({', '.join(_counted(summary, label))})"
        for label, word in enumerate(("photographs", "generated"))
    ]
    rate = "" if summary.fps is None else f", videos at {summary.fps:g} frames per second"
    commit, dirty, _ = (summary.commit or "").partition("-dirty")
    code = f", commit `{commit[:12]}{dirty}`" if commit else ""
    return f"{' and '.join(counts)}{rate}; {summary.time[:10]}{code}."


def value_text(estimate: Estimate | None, metric: str) -> str:
    """A value as text, without its interval."""
    return NOT_DEFINED if estimate is None else _number(estimate[0], metric)


def interval_text(estimate: Estimate | None, metric: str) -> str:
    """A value and its interval as text: 0.691 [0.52, 0.85] or 4.8 % [1, 12]."""
    if estimate is None:
        return NOT_DEFINED
    value, low, high = estimate
    if metric in _RATIOS:
        return f"{value:.3f} [{low:.2f}, {high:.2f}]"
    return f"{100 * value:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _by_model(summary: Summary, title: str, cell: Callable[[ColumnFigures], str]) -> Grid:
    rows = tuple((m.name, *(cell(m.columns[c]) for c in summary.columns)) for m in summary.models)
    return Grid(title, ("model", *summary.columns), rows, 1)


def _by_source(
    summary: Summary,
    title: str,
    label: int,
    cell: Callable[[ColumnFigures, str], str],
    total: Callable[[ColumnFigures], str] | None = None,
) -> Grid:
    rows = [
        (f"{name} ({summary.count(label, name)})", m.name, *_cells(summary, m, name, cell))
        for name in summary.names(label)
        for m in summary.models
    ]
    if total:
        rows += [
            ("all", m.name, *(total(m.columns[c]) for c in summary.columns)) for m in summary.models
        ]
    return Grid(title, ("source", "model", *summary.columns), tuple(rows), 2)


def _cells(
    summary: Summary, model: ModelFigures, name: str, cell: Callable[[ColumnFigures, str], str]
) -> Sequence[str]:
    return [cell(model.columns[c], name) for c in summary.columns]


def _counted(summary: Summary, label: int) -> list[str]:
    return [f"{name} {summary.count(label, name)}" for name in summary.names(label)]


def _number(value: float, metric: str) -> str:
    return f"{value:.3f}" if metric in _RATIOS else f"{100 * value:.1f} %"


def _signed(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOT_DEFINED
    return f"{estimate[0]:+.3f} [{estimate[1]:+.3f}, {estimate[2]:+.3f}]"
