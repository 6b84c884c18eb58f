"""Runs sections one after the other; whatever happens, what was measured is kept."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.results_file import Measured
from benchmarks.section import Plan, Row, Section, load_section
from edge.errors import MissingDependency, PatchwatchError
from edge.terminal import console

INTERRUPTED = 130
_LEAST_S = 0.5
_OURS = ("benchmarks", "export", "training", "edge")
_EXTRAS = "pip install 'patchwatch[train,bench]'"


@dataclass(slots=True)
class Outcome:
    """What a run gave: sections that were started, and those that raised what they should not."""

    sections: dict[str, Measured] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False


def measure(entries: Mapping[str, str], plan: Plan) -> Outcome:
    """Measure sections, with a bar on stderr.

    A section that needs what is not installed gets one row that says so. One that raises anything
    else keeps its rows so far and gets the row {"missing": "failed: …"}; the others go on.

    Args:
        entries: section → "module:Class", in the order of measuring.
        plan: what it may cost.
    """
    outcome = Outcome()
    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[step]}", markup=False),
            console=console(),
            transient=True,
            speed_estimate_period=3600,
        ) as progress:
            bar = _Bar(entries, plan, progress)
            for name, entry in entries.items():
                bar.begin(name)
                _measure_one(name, entry, plan, bar, outcome)
                bar.end(len(outcome.sections[name].rows))
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome


def _measure_one(name: str, entry: str, plan: Plan, bar: _Bar, outcome: Outcome) -> None:
    section: Section | None = None
    ends: list[Row] = []
    try:
        section = load_section(entry)
        section.measure(plan, bar.tick)
    except Exception as error:  # whatever a section does, the others are measured
        absent = _absent(name, error)
        if absent is None:
            outcome.failed.append(name)
        ends = [absent or _failure(name, error)]
    finally:
        title = section.title if section else name.replace("_", " ").capitalize()
        outcome.sections[name] = Measured(title=title, rows=_rows(section) + ends)


def _absent(name: str, error: Exception) -> Row | None:
    """A row where a library is not installed, which is no failure; None for anything else."""
    if isinstance(error, MissingDependency):
        return {"missing": str(error)}
    library = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if not library or library.partition(".")[0] in _OURS:
        return None
    return {"missing": str(MissingDependency(library, f"measure {name}", _EXTRAS))}


def _rows(section: Section | None) -> list[Row]:
    return section.rows() if section else []


def _failure(name: str, error: Exception) -> Row:
    known = isinstance(error, PatchwatchError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    console().print(f"patchwatch: {name} failed: {text}", markup=False, soft_wrap=True)
    if not known:
        console().print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True)
    return {"missing": f"failed: {text}"}


class _Bar:
    """One bar over all sections. Its unit is a second of their budgets, which they fill."""

    def __init__(self, entries: Mapping[str, str], plan: Plan, progress: Progress) -> None:
        self._budget_s = {name: max(plan.budget_s.get(name, 0.0), _LEAST_S) for name in entries}
        self._progress = progress
        self._task = progress.add_task("", total=sum(self._budget_s.values()), step="")
        self._done_s = 0.0

    def begin(self, section: str) -> None:
        """A section starts."""
        self._section, self._began = section, time.perf_counter()
        self._progress.update(self._task, description=section, step="starting")

    def tick(self, step: str) -> None:
        """A step is done."""
        # One that takes longer than its budget must not run into the next section.
        spent_s = min(time.perf_counter() - self._began, self._budget_s[self._section])
        self._progress.update(self._task, completed=self._done_s + spent_s, step=step)

    def end(self, rows: int) -> None:
        """A section is done; says so in a line that stays."""
        self._done_s += self._budget_s[self._section]
        self._progress.update(self._task, completed=self._done_s)
        took_s = time.perf_counter() - self._began
        console().print(f"{self._section}: {rows} rows in {took_s:.1f} s", markup=False)
