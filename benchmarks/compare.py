"""Two result files beside each other: what is faster, slower, or within noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.results_file import BenchResult
from benchmarks.section import Row
from benchmarks.stats import bootstrap_ratio
from benchmarks.tables import markdown_table, number
from edge.errors import UsageError

COMPARED = ("latency", "end_to_end")
BOUND = 1.10
FEWEST_SAMPLES = 3
"""On each side; the bootstrap of two would call every second row changed that is not."""

Change = Literal["faster", "slower", "within noise"]
Identity = tuple[tuple[str, str], ...]
Figures = dict[str, list[float]]
"""Unit → samples, or one figure."""

IDENTITY_KEYS = (
    *("part", "kind", "clip", "candidate", "model", "region", "runtime", "precision"),
    *("size", "threads"),
)
"""What was measured, as opposed to what came out; a section's rows have some of these."""

_FIGURES = {
    "ms": ("samples_ms", "p50_ms"),
    "fps": ("rounds_fps", "fps"),
    "s": ("rounds_first_frame_s", "first_frame_s"),
}
"""Unit → the keys of a row with its samples, and with one figure where it keeps none; the first
that two rows have in common is compared."""

_MACHINE = ("cpu", "cores", "gpu", "board", "governor")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of two files.

    Attributes:
        section: of both rows.
        identity: their common keys and values, for instance (("clip", "720p"), …).
        before: the median in A, in `unit`.
        after: in B.
        unit: "ms", "s" or "fps".
        ratio: of the times, B : A; above 1 is slower, for fps too.
        interval: of the ratio, 95 %; None where a row keeps too few samples.
        change: slower or faster where the interval leaves out 1; without one, where the ratio
            passes the bound.
    """

    section: str
    identity: Identity
    before: float
    after: float
    unit: str
    ratio: float
    interval: tuple[float, float] | None
    change: Change


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    Attributes:
        lines: in A's order.
        notes: what makes the comparison weaker, one sentence each.
        bound: the ratio past which slower is a regression.
    """

    lines: Sequence[Line]
    notes: Sequence[str]
    bound: float

    @property
    def regressions(self) -> list[Line]:
        """The lines that are slower, and by more than the bound."""
        return [line for line in self.lines if line.change == "slower" and line.ratio > self.bound]

    def markdown(self) -> str:
        """A table of all lines, the notes and one sentence that sums up."""
        head = ["section", "row", "A", "B", "", "time B : A", "95 % interval", "change"]
        slower = self.regressions
        table = markdown_table(head, [_cells(line, line in slower) for line in self.lines])
        notes = "".join(f"- {note}\n" for note in self.notes)
        changes = [line.change for line in self.lines]
        words: tuple[Change, ...] = ("faster", "slower", "within noise")
        found = ", ".join(f"{changes.count(word)} {word}" for word in words)
        past = (
            f"{len(self.regressions) or 'none'} slower by more than the bound of {self.bound:g}×."
        )
        return "\n\n".join(filter(None, [table, notes.strip(), f"{found}; {past}"])) + "\n"


def compare(a: BenchResult, b: BenchResult, bound: float = BOUND, seed: int = 0) -> Comparison:
    """Compare the rows that both have, of the sections `COMPARED`.

    Rows match where section and identity are the same. With samples on both sides the medians are
    compared, with a bootstrap interval; else the one figure, without. An interval covers the
    scatter within a run, and not that of the machine from run to run: the bound is for that.

    Args:
        a: the earlier.
        b: the later.
        bound: the ratio of times past which slower is a regression; above 1.
        seed: of the bootstrap.
    Raises UsageError: nothing can be compared, or the bound is not above 1.
    """
    if not bound > 1:
        raise UsageError(f"--bound: expected a ratio above 1, found {bound:g}.")
    before, after = dict(_figures(a)), dict(_figures(b))
    both = [key for key in before if before[key].keys() & after.get(key, {}).keys()]
    if not both:
        raise UsageError(
            "The two files have no measured row in common. "
            "Measure both with the same sections, sizes and threads."
        )
    lines = [_line(key, before[key], after[key], bound, seed) for key in both]
    notes = list(_notes(a, b))
    for name, alone in (("A", before.keys() - after.keys()), ("B", after.keys() - before.keys())):
        if alone:
            sections = ", ".join(sorted({section for section, _ in alone}))
            notes.append(f"{len(alone)} rows are measured in {name} alone ({sections}).")
    without = sum(line.interval is None for line in lines)
    if without:
        notes.append(
            f"{without} of {len(lines)} rows keep fewer than {FEWEST_SAMPLES} samples: compared "
            f"by their figure alone, within noise up to {bound:g}×."
        )
    return Comparison(lines, notes, bound)


def identity(row: Row) -> Identity:
    """The keys that say what was measured, with their values as text, in a fixed order."""
    found = [(key, row[key]) for key in IDENTITY_KEYS if row.get(key) is not None]
    return tuple((k, "×".join(map(str, v)) if isinstance(v, list) else str(v)) for k, v in found)


def _figures(result: BenchResult) -> Iterator[tuple[tuple[str, Identity], Figures]]:
    """Measured rows only; of two of one identity the later counts."""
    for section in COMPARED:
        for row in result.sections[section].rows if section in result.sections else ():
            samples = {unit: _samples(row, *keys) for unit, keys in _FIGURES.items()}
            if found := {unit: values for unit, values in samples.items() if values}:
                yield (section, identity(row)), found


def _samples(row: Row, many: str, one: str) -> list[float]:
    values = row.get(many)
    found = values if isinstance(values, list) and values else [row.get(one)]
    return [float(value) for value in found if isinstance(value, int | float) and value > 0]


def _line(key: tuple[str, Identity], a: Figures, b: Figures, bound: float, seed: int) -> Line:
    unit = next(unit for unit in a if unit in b)
    before, after = a[unit], b[unit]
    ratio, low, high = bootstrap_ratio(after, before, seed)
    if unit == "fps":
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    sampled = min(len(before), len(after)) >= FEWEST_SAMPLES
    least, most, past = (low, high, 1.0) if sampled else (ratio, ratio, bound)
    change: Change = "within noise"
    if least > past:
        change = "slower"
    elif most < 1 / past:
        change = "faster"
    interval = (low, high) if sampled else None
    return Line(*key, median(before), median(after), unit, ratio, interval, change)


def _notes(a: BenchResult, b: BenchResult) -> Iterator[str]:
    if different := _differences(a.machine, b.machine, _MACHINE):
        yield f"The machines differ, so a ratio says little of the program: {different}."
    one, other = a.machine.get("libraries"), b.machine.get("libraries")
    both = (one, other) if isinstance(one, dict) and isinstance(other, dict) else ({}, {})
    if different := _differences(*both, sorted(both[0].keys() | both[1].keys())):
        yield f"The libraries differ: {different}."
    if a.config.quick != b.config.quick:
        yield "One was measured with --quick and the other in full."
    for name, result in (("A", a), ("B", b)):
        if result.interrupted:
            yield f"{name} was interrupted before all was measured."
        if result.warning:
            yield f"{name}: {result.warning}"


def _differences(a: Mapping[str, object], b: Mapping[str, object], keys: Sequence[str]) -> str:
    pairs = [(key, a.get(key, "absent"), b.get(key, "absent")) for key in keys]
    return ", ".join(f"{key} {one} → {other}" for key, one, other in pairs if one != other)


def _cells(line: Line, regression: bool) -> list[str]:
    shown = [f"{v} thread{'s' * (v != '1')}" if k == "threads" else v for k, v in line.identity]
    interval = "too few samples"
    if line.interval:
        interval = f"{line.interval[0]:.3f} – {line.interval[1]:.3f}"
    change = "**slower, past the bound**" if regression else line.change
    figures = [number(line.before), number(line.after), line.unit, f"{line.ratio:.3f}"]
    return [line.section, " · ".join(shown), *figures, interval, change]
