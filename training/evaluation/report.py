"""What people read of an evaluation, all from its figures: tables, report.md, a model card.

A table of a Markdown file (a model card) stands between `<!-- figures:begin NAME -->` and
`<!-- figures:end -->`. NAME is one of `card_tables`: `about`, `false alarms per source`,
`differences`, `uncertain`, `matched`, `years`, a measure (mean per generator), or a measure and
`per generator`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
NOT_DEFINED, NOT_MEASURED = "n/a", "Not measured."
FEW_SOURCES = 5
_RATIOS = (AUC, AP)
"""Written as 0.912; the other measures are shares, written as 91.2 %."""

_BEGIN = re.compile(r"<!-- figures:begin (.+?) -->")
_END = "<!-- figures:end -->"
_BLOCK = re.compile(rf"({_BEGIN.pattern}\n)(.*?)({re.escape(_END)})", re.DOTALL)


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

    def section(self) -> str:
        """Markdown with the title as a heading."""
        return f"### {self.title[0].upper()}{self.title[1:]}\n\n{self.markdown()}"


def grids(summary: Summary) -> Iterator[Grid]:
    """All tables but those of every measure of every generator."""
    yield mean_grid(summary, AUC)
    if summary.fps is not None:
        title = "AUC of single frames, mean per generator"
        yield _by_model(summary, title, lambda column: _ratio(column.frame_auc))
    yield generator_grid(summary, AUC)
    yield alarms_grid(summary)
    yield from (grid for _, grid in _extra_grids(summary))
    if summary.comparisons:
        yield comparison_grid(summary)
    for model in summary.models:
        rows = tuple(
            (name, *(_value(column.mean[m], m) for m in METRICS))
            for name, column in model.columns.items()
        )
        title = f"{model.name}, mean per generator"
        yield Grid(title, ("degradation", *METRICS), rows, 1)


def _extra_grids(summary: Summary) -> Iterator[tuple[str, Grid]]:
    """Name in a marker and table of what older files and unlisted sources do not have."""
    year = "AUC against all photographs, mean per year of the generator"
    tables: tuple[tuple[str, str, Callable[[ColumnFigures], Mapping[str, object]], str], ...] = (
        ("uncertain", "uncertain verdicts", lambda c: c.uncertain, ""),
        ("false alarms per group", "photographs above the threshold", lambda c: c.groups, ""),
        ("matched", "AUC against the matched source", lambda c: c.matched, AUC),
        ("years", year, lambda c: c.years, AUC),
    )
    for name, title, part, metric in tables:
        grid = _by_row(summary, title, part, metric)
        if grid.rows:
            yield name, grid


def mean_grid(summary: Summary, metric: str) -> Grid:
    """Models by degradations: the mean over generators, with its interval."""
    title = f"{metric}, mean per generator"
    return _by_model(summary, title, lambda column: interval_text(column.mean[metric], metric))


def generator_grid(summary: Summary, metric: str) -> Grid:
    """Generators and models by degradations."""
    title = f"{metric} of each generator against all photographs"
    return _by_row(
        summary, title, lambda c: {n: f[metric] for n, f in c.generators.items()}, metric, 1
    )


def alarms_grid(summary: Summary) -> Grid:
    """Photograph sources and models by degradations: the share above the model's threshold."""
    title = "photographs above the threshold"
    return _by_row(summary, title, lambda c: {**c.photographs, "all": c.false_alarms}, "", 0)


def comparison_grid(summary: Summary) -> Grid:
    """Pairs of models under each degradation."""
    rows = tuple(
        (f"{pair.a} − {pair.b}", pair.column, _signed(pair.difference), _ratio(pair.p))
        for pair in summary.comparisons
    )
    head = ("models", "degradation", "difference of the mean AUC", "p")
    return Grid("paired comparison", head, rows, 2)


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


def model_grid(summary: Summary) -> Grid:
    """The models and their calibrations."""
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


def require_matplotlib() -> None:
    """Check that plots can be drawn, before long work.

    Raises:
        MissingDependency: they cannot.
    """
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
    from training.evaluation.plots import draw_plots, draw_sheets, rendered

    files = {FILE: (record.model_dump_json(by_alias=True) + "\n").encode()}
    pictures = []
    sheets, problems = draw_sheets(record)
    for name, (caption, figure) in {**draw_plots(record), **sheets}.items():
        suffixes = ("png",) if name in sheets else ("png", "svg")
        files |= rendered(figure, name, suffixes)
        pictures.append(f"![{caption}]({name}.{suffixes[-1]})")
    parts = [HEADING, about(summary), model_grid(summary).markdown(), "## Figures"]
    parts += [grid.section() for grid in grids(summary)]
    parts += ["\n".join(f"- {note}" for note in [*notes(summary), *problems])]
    parts += ["## Plots", *pictures, "## Every measure of every generator"]
    parts += [grid.section() for grid in detail_grids(summary)]
    files[PAGE] = ("\n\n".join(parts) + "\n").encode()
    write_all(folder, files)
    return problems


def write_card(card: Path, summary: Summary) -> bool:
    """Rewrite every table of a file; nothing else in it changes.

    Args:
        card: a Markdown file with markers.
        summary: where all its figures come from.

    Returns:
        Whether anything was different.

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

    Args:
        card: a Markdown file with markers.
        figures: `evaluation.json` or its compact form.

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


def card_tables(summary: Summary) -> dict[str, str]:
    """Name in a marker → Markdown."""
    one = "One model was evaluated, so that there is no difference."
    made = {
        "about": " ".join([about(summary), *notes(summary)]),
        "false alarms per source": alarms_grid(summary).markdown(),
        "differences": comparison_grid(summary).markdown() if summary.comparisons else one,
        **dict.fromkeys(("uncertain", "false alarms per group", "matched", "years"), NOT_MEASURED),
        **{name: grid.markdown() for name, grid in _extra_grids(summary)},
    }
    for metric in METRICS:
        made[metric] = mean_grid(summary, metric).markdown()
        made[f"{metric} per generator"] = generator_grid(summary, metric).markdown()
    return made


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
    known = card_tables(summary)
    for _, name, _, _ in blocks:
        if name not in known:
            raise UsageError(f"{card}: no table {name!r}. Expected one of {', '.join(known)}.")
    return _BLOCK.sub(lambda found: f"{found[1]}{known[found[2]]}\n{found[4]}", text)


def _by_model(summary: Summary, title: str, cell: Callable[[ColumnFigures], str]) -> Grid:
    rows = tuple((m.name, *(cell(m.columns[c]) for c in summary.columns)) for m in summary.models)
    return Grid(title, ("model", *summary.columns), rows, 1)


def _by_row(
    summary: Summary,
    title: str,
    part: Callable[[ColumnFigures], Mapping[str, object]],
    metric: str,
    label: int | None = None,
) -> Grid:
    """Rows of a part of the figures, and models, by degradations."""
    names = dict.fromkeys(
        name for m in summary.models for c in summary.columns for name in part(m.columns[c])
    )
    rows = tuple(
        (
            _counted(summary, label, name),
            m.name,
            *(_cell(part(m.columns[c]).get(name), metric) for c in summary.columns),
        )
        for name in names
        for m in summary.models
    )
    return Grid(title, ("source", "model", *summary.columns), rows, 2)


def _counted(summary: Summary, label: int | None, name: str) -> str:
    known = label is not None and name in summary.names(label)
    return f"{name} ({summary.count(label, name)})" if label is not None and known else name


def _cell(value: object, metric: str) -> str:
    return _ratio(value) if isinstance(value, float) else interval_text(value, metric)  # type: ignore[arg-type]  # an estimate or None


def _value(estimate: Estimate | None, metric: str) -> str:
    if estimate is None:
        return NOT_DEFINED
    return f"{estimate[0]:.3f}" if metric in _RATIOS else f"{100 * estimate[0]:.1f} %"


def _ratio(value: float | None) -> str:
    return NOT_DEFINED if value is None else f"{value:.3f}"


def _signed(estimate: Sequence[float] | None) -> str:
    if estimate is None:
        return NOT_DEFINED
    return f"{estimate[0]:+.3f} [{estimate[1]:+.3f}, {estimate[2]:+.3f}]"
