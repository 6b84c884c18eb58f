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

from edge.errors import SinkError, UsageError, require
from edge.files import write_all, write_whole
from edge.manifest import Calibration
from training.evaluation.metrics import AUC, CONFIDENCE_PERCENT, METRICS, Estimate
from training.evaluation.record import FILE, Record
from training.evaluation.summary import ColumnFigures, Summary, read_summary

PAGE = "report.md"
HEADING = "# Patchwatch evaluation"
NOT_DEFINED = "n/a"
FEW_SOURCES = 5

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
    """Name in a marker → table, in the order of a report; what was not measured has no rows."""

    def by_row(
        title: str,
        part: Callable[[ColumnFigures], Mapping[str, object]],
        metric: str = "",
        label: int | None = None,
    ) -> Grid:
        """Rows of a part of the figures, and models, by degradations; `label` counts pictures."""
        names = dict.fromkeys(
            name for m in summary.models for c in summary.columns for name in part(m.columns[c])
        )
        counts = {} if label is None else {n: summary.count(label, n) for n in summary.names(label)}
        rows = [
            (
                f"{name} ({counts[name]})" if name in counts else name,
                model.name,
                *(_cell(part(model.columns[c]).get(name), metric) for c in summary.columns),
            )
            for name in names
            for model in summary.models
        ]
        return Grid(title, ("source", "model", *summary.columns), tuple(rows), 2)

    made: dict[str, Grid] = {}
    for m in METRICS:
        rows = [
            (one.name, *(_cell(one.columns[c].mean.get(m), m) for c in summary.columns))
            for one in summary.models
        ]
        head = ("model", *summary.columns)
        made[m] = Grid(f"{m}, mean per generator", head, tuple(rows), 1)
    for m in METRICS:
        title = f"{m} of each generator against all photographs"
        made[f"{m} per generator"] = by_row(title, partial(_generators, m), m, 1)
    above = "photographs above the threshold"
    made["false alarms per source"] = by_row(
        above, lambda c: {**c.photographs, "all": c.false_alarms}, "", 0
    )
    made["uncertain"] = by_row("uncertain verdicts", lambda c: c.uncertain)
    made["false alarms per group"] = by_row(above, lambda c: c.groups)
    made["matched"] = by_row("AUC against the matched source", lambda c: c.matched, AUC)
    year = "AUC against all photographs, mean per year of the generator"
    made["years"] = by_row(year, lambda c: c.years, AUC)
    made["clips"] = by_row("clips, each as one decision", lambda c: c.clips)
    return made


def _generators(metric: str, column: ColumnFigures) -> dict[str, object]:
    return {name: found.get(metric) for name, found in column.generators.items()}


def grids(summary: Summary) -> Iterator[Grid]:
    """The tables of terminal and report: all but those of other measures of every generator."""
    for name, grid in tables(summary).items():
        if grid.rows and (name == f"{AUC} per generator" or not name.endswith("per generator")):
            yield grid


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
        f"({summary.draws} draws, seed {summary.seed})."
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
    """A value and its interval as text: an AUC as 0.691 [0.52, 0.85], a share as 4.8 % [1, 12]."""
    if estimate is None:
        return NOT_DEFINED
    value, low, high = estimate
    if metric == AUC:
        return f"{value:.3f} [{low:.2f}, {high:.2f}]"
    return f"{100 * value:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _cell(value: object, metric: str) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return interval_text(value, metric)  # type: ignore[arg-type]  # an estimate or None


def require_matplotlib() -> None:
    """Check that plots can be drawn, before long work; else a MissingDependency."""
    require("matplotlib", "draw a report", "pip install 'patchwatch[bench]'")


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
    """Write `evaluation.json`, `report.md`, the ROC curves as PNG and SVG, and the contact sheets.

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
    if left_out := [*record.rejected, *record.without_logit()]:
        parts += ["## Left out", "\n".join(f"- {reason}" for reason in left_out)]
    parts += ["## Plots", *pictures]
    files[PAGE] = ("\n\n".join(parts) + "\n").encode()
    write_all(folder, files)
    return problems


def write_card(card: Path, summary: Summary) -> bool:
    """Rewrite every table of a Markdown file, nothing else; whether anything was different.

    Raises:
        UsageError: the file cannot be read, has no markers or unpaired ones, or names no table.
        SinkError: it cannot be written.
    """
    old, new = _filled(card, summary)
    if new != old:
        write_whole(card, new)
    return new != old


def stale(card: Path, figures: Path) -> str | None:
    """One sentence where a card's tables are not those of a file of figures; None if they are.

    Raises:
        UsageError: one of the two cannot be read, as `write_card`.
    """
    old, new = _filled(card, read_summary(figures)[0])
    if new == old:
        return None
    return (
        f"{card}: its tables are not those of {figures}. Run 'patchwatch evaluate --from {figures} "
        f"--card {card}'."
    )


def _filled(card: Path, summary: Summary) -> tuple[str, str]:
    """The text as it is and as it should be."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{card} cannot be read as text: {error}.") from error
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
    for _, name, _, _ in blocks:
        if name not in known:
            raise UsageError(f"{card}: no table {name!r}. Expected one of {', '.join(known)}.")
    return text, _BLOCK.sub(lambda found: f"{found[1]}{known[found[2]]}\n{found[4]}", text)
