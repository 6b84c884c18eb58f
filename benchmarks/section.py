"""What every part of the benchmark offers, and the plan that it follows."""

from __future__ import annotations

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
"""Told after each step what was just measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the benchmark may cost.

    Attributes:
        quick: less of everything, for a first look; under a minute in all.
        threads: numbers of threads to measure with, ascending.
        budget_s: section → seconds that it may take; rounds are fitted into it.
        seed: of whatever is drawn at random.
    """

    quick: bool
    threads: tuple[int, ...]
    budget_s: Mapping[str, float]
    seed: int = 0


class Section(Protocol):
    """One part of the benchmark.

    Attributes:
        name: its key in result files, for instance "latency".
        title: its heading in the report.
    """

    name: str
    title: str

    def steps(self, plan: Plan) -> int:
        """How many times `measure` will tick; an estimate is enough."""
        ...

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
"""Each section's module has one, named `render`; it is given the rows of a result file."""
