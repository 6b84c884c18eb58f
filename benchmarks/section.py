"""The sections of the benchmark, what each of them offers, and the plan that it follows.

A section is one module: a class that measures, and a function `render` that draws its rows. Neither
is imported before it is needed, and drawing imports nothing that was measured with.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, object]
"""One line of a result file: plain JSON; keys end in their unit (`_ms`, `_s`, `_mb`, `_gflops`).

A row of something that could not be measured has `missing`: one sentence that says what to install
or that this machine cannot; it has no figures.
"""

Tick = Callable[[str], None]
"""Called after each step with what was just measured."""

SECTIONS = {
    "compute": "benchmarks.compute:ComputeSection",
    "latency": "benchmarks.latency:LatencySection",
    "roofline": "benchmarks.roofline:RooflineSection",
    "end_to_end": "benchmarks.end_to_end:EndToEndSection",
    "scaling": "benchmarks.scaling:ScalingSection",
    "power": "benchmarks.power:PowerSection",
}
"""Name → where it is; in the order of measuring."""

FULL_S = dict(zip(SECTIONS, (10.0, 230.0, 25.0, 150.0, 60.0, 0.0), strict=True))
QUICK_S = dict(zip(SECTIONS, (3.0, 20.0, 5.0, 20.0, 6.0, 0.0), strict=True))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the benchmark may cost.

    Attributes:
        quick: less of everything, for a first look; about a minute in all.
        threads: numbers of threads to measure with, ascending.
        budget_s: section → seconds that it may take; rounds are fitted into it.
    """

    quick: bool
    threads: tuple[int, ...]
    budget_s: Mapping[str, float]
    seed: int = 0


class Section(Protocol):
    """One part of the benchmark; its name is its key in result files, its title a heading."""

    name: str
    title: str

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Measure. May be ended by KeyboardInterrupt at any point; `rows` still works then."""
        ...

    def rows(self) -> list[Row]:
        """What has been measured so far, ready for JSON."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A section as a report shows it, made from its rows alone.

    Attributes:
        markdown: text and tables, without the heading.
        figures: file stem → plot.
    """

    markdown: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


Render = Callable[[list[Row]], Rendered]
"""Draws the rows of a result file."""


def make_plan(quick: bool, threads: tuple[int, ...]) -> Plan:
    """The plan of `patchwatch bench`: under ten minutes in all, about one if quick."""
    return Plan(quick=quick, threads=threads, budget_s=QUICK_S if quick else FULL_S)


def load_section(entry: str) -> Section:
    """A fresh section of an entry of `SECTIONS`."""
    module, _, name = entry.partition(":")
    section: Section = getattr(importlib.import_module(module), name)()
    return section


def load_render(entry: str) -> Render:
    """The function that draws a section from its rows, `render` of the same module."""
    render: Render = importlib.import_module(entry.partition(":")[0]).render
    return render


def of_kind(rows: list[Row], kind: str, key: str = "kind") -> list[Row]:
    """The measured rows of one kind."""
    return [row for row in rows if row.get(key) == kind and "missing" not in row]
