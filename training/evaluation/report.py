"""What people read of an evaluation, all from its figures: tables, report.md, a model card.

A table of a Markdown file (a model card) stands between `<!-- figures:begin NAME -->` and
`<!-- figures:end -->`. NAME is `about` or one of `tables`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table

from edge.errors import MissingDependency, SinkError, UsageError
from edge.files import write_all, write_whole
from edge.manifest import Calibration
from training.evaluation.metrics import AP, AUC, CONFIDENCE_PERCENT, METRICS, Estimate
from training.evaluation.record import FILE, Record
from training.evaluation.summary import ColumnFigures, Summary, read_summary

PAGE = "report.md"
HEADING = "# Patchwatch evaluation"
NOT_DEFINED = "n/a"
FEW_SOURCES = 5
_RATIOS = (AUC, AP)
"""Written as 0.912; the other measures are shares, written as 91.2 %."""

_ALARMS, _FRAMES, _DIFFERENCES = "false alarms per source", "single frames", "differences"
_GROUPED = ("uncertain", "false alarms per group", "matched", "years")
_SHOWN = (AUC, _FRAMES, f"{AUC} per generator", _ALARMS, *_GROUPED, _DIFFERENCES)
"""Of `tables`, those of terminal and report."""

_BEGIN = re.compile(r"<!-- figures:begin (.+?) -->")
_END = "<!-- figures:end -->"
_BLOCK = re.compile(rf"({_BEGIN.pattern}\n)(.*?)({re.escape(_END)})", re.DOTALL)


class Grid(NamedTuple):
    """A table of text, whose first `words` columns hold words, not figures."""

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

    def section(self) -> str:
        """Markdown with the title as a heading."""
        return f"### {self.title[0].upper()}{self.title[1:]}\n\n{self.markdown()}"


def tables(summary: Summary) -> dict[str, Grid]:
    """Name in a marker → table; one of what was not measured has no rows."""
    by_model, by_row = partial(_by_model, summary), partial(_by_row, summary)
    year = "AUC against all photographs, mean per year of the generator"
    above = "photographs above the threshold"
    made = {
        _FRAMES: by_model("AUC of single frames, mean per generator", lambda c: c.frame_auc),
        _ALARMS: by_row(above, lambda c: {**c.photographs, "all": c.false_alarms}, "", 0),
        "uncertain": by_row("uncertain verdicts", lambda c: c.uncertain),
        "false alarms per group": by_row(above, lambda c: c.groups),
        "matched": by_row("AUC against the matched source", lambda c: c.matched, AUC),
        "years": by_row(year, lambda c: c.years, AUC),
        _DIFFERENCES: _differences(summary),
    }
    if summary.fps is None:
        made[_FRAMES] = made[_FRAMES]._replace(rows=())
    for metric in METRICS:
        made[metric] = by_model(f"{metric}, mean per generator", _mean_of(metric), metric)
        title = f"{metric} of each generator against all photographs"
        made[f"{metric} per generator"] = by_row(title, _generators_of(metric), metric, 1)
    return made


def grids(summary: Summary) -> Iterator[Grid]:
    """The tables of terminal and report: all but those of every measure of every generator."""
    made = tables(summary)
    yield from (made[name] for name in _SHOWN if made[name].rows)
    for model in summary.models:
        rows = tuple(
            (name, *(_value(column.mean[m], m) for m in METRICS))
            for name, column in model.columns.items()
        )
        yield Grid(f"{model.name}, mean per generator", ("degradation", *METRICS), rows, 1)


def detail_grids(summary: Summary) -> Iterator[Grid]:
    """Generators by all measures, for each model and degradation."""
    head = ("generator", "pictures", *METRICS)
    for model in summary.models:
        for column in summary.columns:
            found = model.columns[column].generators
            rows = tuple(
                (n, str(summary.count(1, n)), *(_value(found[n][m], m) for m in METRICS))
                for n in summary.names(1)
            )
            yield Grid(f"{model.name}, {column}", head, rows, 1)


def _by_model(
    summary: Summary, title: str, cell: Callable[[ColumnFigures], object], metric: str = AUC
) -> Grid:
    rows = tuple(
        (m.name, *(_cell(cell(m.columns[c]), metric) for c in summary.columns))
        for m in summary.models
    )
    return Grid(title, ("model", *summary.columns), rows, 1)


def _by_row(
    summary: Summary,
    title: str,
    part: Callable[[ColumnFigures], Mapping[str, object]],
    metric: str = "",
    label: int | None = None,
) -> Grid:
    """Rows of a part of the figures, and models, by degradations; sources of `label` counted."""
    names = dict.fromkeys(
        name for m in summary.models for c in summary.columns for name in part(m.columns[c])
    )
    counts = {} if label is None else {n: summary.count(label, n) for n in summary.names(label)}
    rows = tuple(
        (
            f"{name} ({counts[name]})" if name in counts else name,
            m.name,
            *(_cell(part(m.columns[c]).get(name), metric) for c in summary.columns),
        )
        for name in names
        for m in summary.models
    )
    return Grid(title, ("source", "model", *summary.columns), rows, 2)


def _mean_of(metric: str) -> Callable[[ColumnFigures], object]:
    return lambda column: column.mean[metric]


def _generators_of(metric: str) -> Callable[[ColumnFigures], Mapping[str, object]]:
    return lambda column: {n: found[metric] for n, found in column.generators.items()}


def _differences(summary: Summary) -> Grid:
    rows = []
    for pair in summary.comparisons:
        gap = NOT_DEFINED
        if pair.difference is not None:
            gap = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*pair.difference)
        rows.append((f"{pair.a} − {pair.b}", pair.column, gap, _cell(pair.p, "")))
    head = ("models", "degradation", "difference of the mean AUC", "p")
    return Grid("paired comparison", head, tuple(rows), 2)


def _model_grid(summary: Summary) -> Grid:
    rows = tuple(
        (
            model.name,
            f"`{model.file}`",
            f"`{model.sha256[:12]}`",
            model.region,
            f"{model.calibration.temperature:.4g}",
            f"{model.calibration.bias:.4g}",
            f"{model.calibration.threshold:.3f}",
        )
        for model in summary.models
    )
    head = ("model", "file", "sha256", "region", "temperature", "bias", "threshold")
    return Grid("models", head, rows, 4)


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
        elif count < FEW_SOURCES:
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
    """What was evaluated, when and with which code, in one sentence."""
    counts = [
        f"{summary.count(label)} {word} "
        f"({', '.join(f'{name} {summary.count(label, name)}' for name in summary.names(label))})"
        for label, word in enumerate(("photographs", "generated"))
    ]
    rate = "" if summary.fps is None else f", videos at {summary.fps:g} frames per second"
    commit, dirty, _ = (summary.commit or "").partition("-dirty")
    code = f", commit `{commit[:12]}{dirty}`" if commit else ""
    return f"{' and '.join(counts)}{rate}; {summary.time[:10]}{code}."


def interval_text(estimate: Estimate | None, metric: str) -> str:
    """A value and its interval as text: 0.691 [0.52, 0.85] or 4.8 % [1, 12]."""
    if estimate is None:
        return NOT_DEFINED
    value, low, high = estimate
    if metric in _RATIOS:
        return f"{value:.3f} [{low:.2f}, {high:.2f}]"
    return f"{100 * value:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _value(estimate: Estimate | None, metric: str) -> str:
    return interval_text(estimate, metric).partition(" [")[0]


def _cell(value: object, metric: str) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return interval_text(value, metric)  # type: ignore[arg-type]  # an estimate or None


def require_matplotlib() -> None:
    """Check that plots can be drawn, before long work; else a MissingDependency."""
    try:
        import matplotlib  # noqa: F401  # only whether it can be imported matters
    except ImportError as error:
        raise MissingDependency(
            "matplotlib", "draw a report", "pip install 'patchwatch[bench]'"
        ) from error


def require_folder(folder: Path, page: str = PAGE, heading: str = HEADING) -> None:
    """Check that a report can go to a folder: absent, empty, or with an earlier report.

    Raises:
        SinkError: it cannot.
    """
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"{folder} is a file. Name a folder for --output.")
    path = folder / page
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(heading):
        raise SinkError(f"{path} exists and is no report of this program. Name another folder.")


def write_report(record: Record, summary: Summary, folder: Path) -> list[str]:
    """Write `evaluation.json`, `report.md`, the plots as PNG and SVG, and the contact sheets.

    All files are made before the first is put in place, so that nothing half is left behind.

    Args:
        record: what was measured.
        summary: of the same record.
        folder: made where it is absent; an earlier report in it is replaced.

    Returns:
        A sentence for each contact sheet that cannot be drawn as its pictures are gone.

    Raises:
        MissingDependency: matplotlib is absent.
        SinkError: the folder cannot be written to.
    """
    require_matplotlib()
    require_folder(folder)
    from training.evaluation.plots import SHEET, draw_plots, rendered

    files = {FILE: (record.model_dump_json(by_alias=True) + "\n").encode()}
    pictures = []
    plots, problems = draw_plots(record)
    for name, (caption, figure) in plots.items():
        suffixes = ("png",) if name.startswith(SHEET) else ("png", "svg")
        files |= rendered(figure, name, suffixes)
        pictures.append(f"![{caption}]({name}.{suffixes[-1]})")
    parts = [HEADING, about(summary), _model_grid(summary).markdown(), "## Figures"]
    parts += [grid.section() for grid in grids(summary)]
    parts += ["\n".join(f"- {note}" for note in [*notes(summary), *problems])]
    parts += ["## Plots", *pictures, "## Every measure of every generator"]
    parts += [grid.section() for grid in detail_grids(summary)]
    files[PAGE] = ("\n\n".join(parts) + "\n").encode()
    write_all(folder, files)
    return problems


def write_card(card: Path, summary: Summary) -> bool:
    """Rewrite every table of a Markdown file, nothing else; whether anything was different.

    Raises:
        UsageError: the file cannot be read, has no markers or unpaired ones, or names no table.
        SinkError: it cannot be written.
    """
    old = _read(card)
    new = _filled(card, old, summary)
    if new != old:
        write_whole(card, new)
    return new != old


def stale(card: Path, figures: Path) -> str | None:
    """One sentence where a card's tables are not those of a file of figures; None if they are.

    Raises:
        UsageError: one of the two cannot be read, as `write_card`.
    """
    text = _read(card)
    if _filled(card, text, read_summary(figures)[0]) == text:
        return None
    return (
        f"{card}: its tables are not those of {figures}. Run 'patchwatch evaluate --from {figures} "
        f"--card {card}'."
    )


def _read(card: Path) -> str:
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{card} cannot be read as text: {error}.") from error


def _filled(card: Path, text: str, summary: Summary) -> str:
    blocks = _BLOCK.findall(text)
    begins, ends = len(_BEGIN.findall(text)), text.count(_END)
    if not blocks or not len(blocks) == begins == ends:
        raise UsageError(
            f"{card}: expected each <!-- figures:begin NAME --> on a line of its own and followed "
            f"by one {_END}, found {begins} beginnings and {ends} ends."
        )
    known = {"about": " ".join([about(summary), *notes(summary)])}
    for name, grid in tables(summary).items():
        known[name] = grid.markdown() if grid.rows else "Not measured."
    if not summary.comparisons:
        known[_DIFFERENCES] = "One model was evaluated, so that there is no difference."
    for _, name, _, _ in blocks:
        if name not in known:
            raise UsageError(f"{card}: no table {name!r}. Expected one of {', '.join(known)}.")
    return _BLOCK.sub(lambda found: f"{found[1]}{known[found[2]]}\n{found[4]}", text)
