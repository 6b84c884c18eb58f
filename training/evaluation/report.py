"""`report.md` with plots beside it, from an `evaluation.json` alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import MissingDependency, SinkError, SourceError
from training.evaluation.metrics import AUC
from training.evaluation.plots import draw_plots
from training.evaluation.record import FILE, Record, write_text
from training.evaluation.sheet import error_sheet
from training.evaluation.summary import Summary
from training.evaluation.tables import (
    Grid,
    about,
    alarms_grid,
    comparison_grid,
    detail_grid,
    frames_grid,
    generator_grid,
    mean_grid,
    measures_grid,
    notes,
)
from training.evaluation.whole_files import write_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.md"
HEADING = "# Patchwatch evaluation"
_DPI = 150
_CAPTIONS = {"roc": "ROC curves", "reliability": "reliability"}


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


def require_folder(folder: Path) -> None:
    """Check that a report can go to a folder: absent, empty, or with an earlier report.

    Raises:
        SinkError: it cannot.
    """
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"{folder} is a file. Name a folder for --output.")
    page = folder / PAGE
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(HEADING):
        raise SinkError(f"{page} exists and is no report of this program. Name another folder.")


def write_report(
    record: Record,
    summary: Summary,
    folder: Path,
    on_plot: Callable[[], None] = lambda: None,
) -> list[str]:
    """Write `evaluation.json`, `report.md`, the plots as PNG and SVG, and the contact sheets.

    All files are made before the first is put in place, so that nothing half is left behind.

    Args:
        record: what was measured.
        summary: of the same record.
        folder: made where it is absent; an earlier report in it is replaced.
        on_plot: called after each plot.

    Returns:
        A sentence for each contact sheet that cannot be drawn as its pictures are gone.

    Raises:
        MissingDependency: matplotlib is absent.
        SinkError: the folder cannot be written to.
    """
    require_matplotlib()
    require_folder(folder)
    files: dict[str, bytes] = {FILE: write_text(record).encode()}
    plots = draw_plots(record)
    for name, figure in plots.items():
        files[f"{name}.png"], files[f"{name}.svg"] = _png(figure), _svg(figure)
        on_plot()
    sheets, problems = _sheets(record)
    files |= {f"{name}.png": data for name, data in sheets.items()}
    files[PAGE] = page(record, summary, [*plots], [*sheets], problems).encode()
    write_all(folder, files)
    return problems


def page(
    record: Record, summary: Summary, plots: list[str], sheets: list[str], problems: list[str]
) -> str:
    """The Markdown of a report."""
    parts = [HEADING, about(summary), *_models(summary)]
    parts += ["## Figures", *(_section(grid) for grid in _grids(summary))]
    parts += ["\n".join(f"- {note}" for note in [*notes(summary), *problems])]
    parts += ["## Plots", *(f"![{_caption(record, name)}]({name}.svg)" for name in plots)]
    parts += [f"![{_caption(record, name)}]({name}.png)" for name in sheets]
    parts += ["## Every measure of every generator"]
    parts += [
        _section(detail_grid(summary, model, column))
        for model in summary.models
        for column in summary.columns
    ]
    return "\n\n".join(parts) + "\n"


def _grids(summary: Summary) -> Iterator[Grid]:
    yield mean_grid(summary, AUC)
    frames = frames_grid(summary)
    if frames:
        yield frames
    yield generator_grid(summary, AUC)
    yield alarms_grid(summary)
    compared = comparison_grid(summary)
    if compared:
        yield compared
    yield from (measures_grid(summary, model) for model in summary.models)


def _section(grid: Grid) -> str:
    return f"### {grid.title[0].upper()}{grid.title[1:]}\n\n{grid.markdown()}"


def _models(summary: Summary) -> Iterator[str]:
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
    yield Grid("models", head, rows, 4).markdown()


def _sheets(record: Record) -> tuple[dict[str, bytes], list[str]]:
    sheets: dict[str, bytes] = {}
    problems = []
    for number, model in enumerate(record.models, start=1):
        try:
            figure = error_sheet(record, model)
        except SourceError as error:
            problems.append(f"No contact sheet of {model.name}: {error}")
            continue
        if figure is not None:
            sheets[f"errors-{number}"] = _png(figure)
    return sheets, problems


def _caption(record: Record, name: str) -> str:
    kind, _, number = name.partition("-")
    if not number:
        return _CAPTIONS[kind]
    return f"{kind} of {record.models[int(number) - 1].name}"


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    # Without the version of the library: the same file gives the same bytes.
    figure.savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
    return data.getvalue()


def _svg(figure: Figure) -> bytes:
    import matplotlib

    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "patchwatch"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()
