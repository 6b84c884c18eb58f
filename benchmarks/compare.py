"""Two result files beside each other: what is faster, slower, or within noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from benchmarks.results_file import BenchResult, read_bench
from benchmarks.section import Row
from benchmarks.stats import bootstrap_ratio, median
from benchmarks.tables import markdown_table, number
from edge.errors import UsageError

COMPARED = ("latency", "end_to_end", "peers")
BOUND = 1.10
FEWEST_SAMPLES = 3
"""On each side; the bootstrap of two would call every second row changed that is not."""

Change: TypeAlias = Literal["faster", "slower", "within noise"]
Identity: TypeAlias = tuple[tuple[str, str], ...]
Figures: TypeAlias = dict[str, list[float]]  # unit → samples, or one figure

# What was measured, as opposed to what came out; a section's rows have some of these.
IDENTITY_KEYS = (
    "part",
    "kind",
    "clip",
    "candidate",
    "model",
    "region",
    "runtime",
    "precision",
    "size",
    "threads",
)

# unit → the keys of a row with its samples, and with one figure where it keeps none; the first
# that two rows have in common is compared.
_FIGURES = {
    "ms": ("samples_ms", "p50_ms"),
    "fps": ("rounds_fps", "fps"),
    "s": ("rounds_first_frame_s", "first_frame_s"),
}
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
        rows = [_cells(line, line in self.regressions) for line in self.lines]
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"{markdown_table(head, rows)}\n\n{notes}{chr(10) * bool(notes)}{self._summary()}\n"

    def _summary(self) -> str:
        counts = {change: 0 for change in ("faster", "slower", "within noise")}
        for line in self.lines:
            counts[line.change] += 1
        found = ", ".join(f"{count} {change}" for change, count in counts.items())
        past = len(self.regressions)
        return f"{found}; {past or 'none'} slower by more than the bound of {self.bound:g}×."


def compare_files(a: Path, b: Path, bound: float = BOUND) -> Comparison:
    """`compare` of two files.

    Raises:
        UsageError: as `read_bench` and `compare`.
    """
    return compare(read_bench(a), read_bench(b), bound)


def compare(a: BenchResult, b: BenchResult, bound: float = BOUND, seed: int = 0) -> Comparison:
    """Compare the rows that both have, of the sections `COMPARED`.

    Rows match where section and identity are the same. With samples on both sides (`samples_ms`,
    `rounds_fps`) the medians are compared, with a bootstrap interval; else `p50_ms` or `fps`,
    without one. An interval covers the scatter within a run, and not that of the machine from run
    to run: the bound is for that.

    Args:
        a: the earlier.
        b: the later.
        bound: the ratio of times past which slower is a regression; above 1.
        seed: of the bootstrap.

    Raises:
        UsageError: nothing can be compared, or the bound is not above 1.
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
    without = sum(line.interval is None for line in lines)
    notes = [*_notes(a, b), *_unmatched(before.keys() - after.keys(), "A")]
    notes += _unmatched(after.keys() - before.keys(), "B")
    if without:
        notes.append(
            f"{without} of {len(lines)} rows keep fewer than {FEWEST_SAMPLES} samples: compared "
            "by their figure alone, "
            f"within noise up to {bound:g}×."
        )
    return Comparison(lines, notes, bound)


def identity(row: Row) -> Identity:
    """The keys that say what was measured, with their values as text, in a fixed order."""
    return tuple((key, _text(row[key])) for key in IDENTITY_KEYS if row.get(key) is not None)


def _text(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _figures(result: BenchResult) -> Iterator[tuple[tuple[str, Identity], Figures]]:
    """Measured rows only; of two of one identity the later counts."""
    for section in COMPARED:
        if section in result.sections:
            for row in result.sections[section].rows:
                if found := _figures_of(row):
                    yield (section, identity(row)), found


def _figures_of(row: Row) -> Figures:
    found = {unit: _samples(row, *keys) for unit, keys in _FIGURES.items()}
    return {unit: values for unit, values in found.items() if values}


def _samples(row: Row, many: str, one: str) -> list[float]:
    values = row.get(many)
    return _positive(values if isinstance(values, list) and values else [row.get(one)])


def _positive(values: Sequence[object]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float) and value > 0]


def _line(key: tuple[str, Identity], a: Figures, b: Figures, bound: float, seed: int) -> Line:
    unit = next(unit for unit in a if unit in b)
    before, after = a[unit], b[unit]
    ratio, low, high = bootstrap_ratio(after, before, seed)
    if unit == "fps":
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    sampled = min(len(before), len(after)) >= FEWEST_SAMPLES
    return Line(
        section=key[0],
        identity=key[1],
        before=median(before),
        after=median(after),
        unit=unit,
        ratio=ratio,
        interval=(low, high) if sampled else None,
        change=_change(low, high, 1.0) if sampled else _change(ratio, ratio, bound),
    )


def _change(low: float, high: float, bound: float) -> Change:
    if low > bound:
        return "slower"
    return "faster" if high < 1 / bound else "within noise"


def _notes(a: BenchResult, b: BenchResult) -> Iterator[str]:
    different = _differences(a.machine, b.machine, _MACHINE)
    if different:
        yield f"The machines differ, so a ratio says little of the program: {different}."
    libraries = _differences(_libraries(a), _libraries(b))
    if libraries:
        yield f"The libraries differ: {libraries}."
    if a.config.quick != b.config.quick:
        yield "One was measured with --quick and the other in full."
    for name, result in (("A", a), ("B", b)):
        if result.interrupted:
            yield f"{name} was interrupted before all was measured."
        if result.warning:
            yield f"{name}: {result.warning}"


def _differences(
    a: Mapping[str, object], b: Mapping[str, object], keys: Sequence[str] | None = None
) -> str:
    names = sorted(a.keys() | b.keys()) if keys is None else keys
    return ", ".join(
        f"{name} {a.get(name, 'absent')} → {b.get(name, 'absent')}"
        for name in names
        if a.get(name) != b.get(name)
    )


def _libraries(result: BenchResult) -> Mapping[str, object]:
    found = result.machine.get("libraries")
    return found if isinstance(found, dict) else {}


def _unmatched(keys: set[tuple[str, Identity]], name: str) -> Iterator[str]:
    if keys:
        sections = ", ".join(sorted({section for section, _ in keys}))
        yield f"{len(keys)} rows are measured in {name} alone ({sections})."


def _cells(line: Line, regression: bool) -> list[str]:
    name = " · ".join(_named(*pair) for pair in line.identity)
    interval = "too few samples"
    if line.interval:
        interval = f"{line.interval[0]:.3f} – {line.interval[1]:.3f}"
    change = "**slower, past the bound**" if regression else line.change
    figures = [number(line.before), number(line.after), line.unit, f"{line.ratio:.3f}"]
    return [line.section, name, *figures, interval, change]


def _named(key: str, value: str) -> str:
    return f"{value} thread{'s' * (value != '1')}" if key == "threads" else value
