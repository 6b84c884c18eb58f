"""A result file as a page: Markdown with plots in SVG and PNG, from the file alone."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.readme import snippet
from benchmarks.results_file import BenchResult, Measured
from benchmarks.section import SECTIONS, Rendered, Row, load_render
from edge.errors import MissingDependency, SinkError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "# Patchwatch benchmark"
PAGE = "report.md"
PNG_DPI = 150
_LOG = logging.getLogger(__name__)


def write_report(
    result: BenchResult, folder: Path, entries: Mapping[str, str] = SECTIONS
) -> tuple[Path, list[str]]:
    """Write `report.md` and, for each plot, an `.svg` and a `.png` beside it.

    Args:
        result: from `read_bench`.
        folder: made where it is absent; an earlier report in it is replaced.
        entries: section → "module:Class"; the `render` of the module draws it.

    Returns:
        The page, and the names of the sections that could not be drawn.

    Raises:
        MissingDependency: matplotlib is absent.
        SinkError: the folder holds another report.md, or cannot be written to.
    """
    if importlib.util.find_spec("matplotlib") is None:
        install = "pip install 'patchwatch[bench]'"
        raise MissingDependency("matplotlib", "draw a report", install)
    page = folder / PAGE
    _check_free(page)
    drawn = {name: _draw(name, part, entries) for name, part in result.sections.items()}
    parts = [_section(name, part, drawn[name]) for name, part in result.sections.items()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rendered in drawn.items():
            for stem, figure in rendered.figures.items() if rendered else ():
                _save(figure, folder / _file_stem(name, stem))
        page.write_text("\n\n".join([header(result), *parts]) + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"The report cannot be written to {folder}: {error.strerror}.") from error
    return page, [name for name, rendered in drawn.items() if rendered is None]


def header(result: BenchResult) -> str:
    """Heading, warnings, machine, plan and the summary table."""
    parts = [HEADING, *(f"> **Caution.** {text}" for text in _cautions(result))]
    parts.append("\n".join(f"- **{name}**: {text}" for name, text in _facts(result)))
    if table := snippet(result):
        parts += ["## Summary", table]
    return "\n\n".join(parts)


def _cautions(result: BenchResult) -> Iterator[str]:
    if result.interrupted:
        yield "The run was interrupted: these are the figures until then."
    if result.warning:
        yield result.warning
    if result.config.quick:
        yield "Measured with `--quick`: few rounds, for a first look."
    if result.commit.endswith("-dirty"):
        yield "The code had changes that are in no commit."


def _facts(result: BenchResult) -> Iterator[tuple[str, str]]:
    machine, config = result.machine, result.config
    memory, libraries = machine.get("memory_gib"), machine.get("libraries")
    yield "measured", f"{result.time.replace('T', ' ').replace('+00:00', ' UTC')}"
    yield "commit", f"`{result.commit}`"
    yield "processor", f"{machine.get('cpu')}, {machine.get('cores')} cores, {memory} GiB"
    yield "governor", str(machine.get("governor") or "not readable")
    for key in ("board", "gpu"):
        if machine.get(key):
            yield key, str(machine[key])
    yield "system", f"{machine.get('system')}, Python {machine.get('python')}"
    if isinstance(libraries, dict):
        yield "libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())
    load = ", ".join(f"{value:.2f}" for value in result.conditions.load_average)
    yield "load before the start", f"{load} (1, 5, 15 minutes)"
    yield "threads", ", ".join(map(str, config.threads))
    known = [(name, config.budget_s.get(name)) for name in result.sections]
    budgets = [f"{name} {seconds:g} s" for name, seconds in known if seconds]
    yield "plan", f"{'quick' if config.quick else 'full'}; {', '.join(budgets)}"


def _draw(name: str, part: Measured, entries: Mapping[str, str]) -> Rendered | None:
    measured = [row for row in part.rows if not _is_failure(row)]
    if not measured or name not in entries:
        return Rendered("" if measured == [] else "This program has no section of this name.")
    try:
        return load_render(entries[name])(measured)
    except Exception as error:  # one section that cannot be drawn must not cost the others
        _LOG.error("%s could not be drawn: %s: %s", name, type(error).__name__, error)
        return None


def _is_failure(row: Row) -> bool:
    return row.keys() == {"missing"}


def _section(name: str, part: Measured, rendered: Rendered | None) -> str:
    parts = [f"## {part.title}"]
    parts += [f"> Not measured: {row['missing']}" for row in part.rows if _is_failure(row)]
    if rendered is None:
        parts.append("> These rows could not be drawn; the result file has them.")
    else:
        parts += [rendered.markdown.strip()] if rendered.markdown.strip() else []
        parts += [_image(name, stem) for stem in rendered.figures]
    return "\n\n".join(parts)


def _image(name: str, stem: str) -> str:
    file = _file_stem(name, stem)
    return f"![{file.replace('_', ' ')}]({file}.svg)"


def _file_stem(name: str, stem: str) -> str:
    return stem if stem.startswith(name) else f"{name}_{stem}"


def _save(figure: Figure, stem: Path) -> None:
    import matplotlib

    # A salt and no date: the same result file gives the same SVG, byte for byte.
    with matplotlib.rc_context({"svg.hashsalt": "patchwatch"}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None}, bbox_inches="tight")
    figure.savefig(stem.with_suffix(".png"), dpi=PNG_DPI, bbox_inches="tight")


def _check_free(page: Path) -> None:
    if page.parent.exists() and not page.parent.is_dir():
        raise SinkError(f"{page.parent} is a file. Name a folder for the report.")
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(HEADING):
        raise SinkError(f"{page} exists and is no report of this program. Name another folder.")
