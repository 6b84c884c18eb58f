"""Tables and plots of latency, from rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from benchmarks.charts import COLOURS, INK
from benchmarks.compute.names import TEACHER
from benchmarks.latency.names import FOLDED
from benchmarks.section import Rendered, Row
from benchmarks.tables import markdown_table, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HW = tuple[int, int]

BOUNDS: tuple[tuple[HW, float], ...] = (((256, 256), 1.3), ((1080, 1920), 2.0))
"""Size → how many times faster than the naive graph the folded one must be."""

PLOTTED: tuple[HW, ...] = ((256, 256), (512, 512), (1080, 1920))
LONGEST_WHISKER = 1.5
"""Times the longest bar; a whisker that would go on ends there, and its p95 is written out."""

INTRODUCTION = (
    "One frame at a time (batch 1), from an array in host memory to a logit there. Every candidate "
    "of a size and number of threads runs once in each round, in an order drawn anew; no sample is "
    "removed. *× naive* is the median over rounds of the time divided by the naive graph's in the "
    "same round, with its 95 % bootstrap interval; below 1 is faster. |Δ logit| is the difference "
    "from torch on the timed frame. On a CPU there is only host time; on a GPU copy and kernel are "
    "timed by device events."
)

Column = tuple[str, Callable[[Row], str]]


def render(rows: list[Row]) -> Rendered:
    """Markdown and plots of the latency section."""
    measured = [row for row in rows if "missing" not in row]
    parts = [INTRODUCTION, *bounds(measured)]
    parts += tables(measured, COLUMNS)
    parts += missing(rows)
    # The teacher takes so much longer that bars of a shipped model would vanish.
    drawn = [row for row in measured if row["model"] != TEACHER]
    return Rendered("\n\n".join(parts) + "\n", plots(drawn, "latency"))


def number_in(row: Row, key: str) -> float | None:
    """A figure of a row; None where it has none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else None


def size_of(row: Row) -> HW:
    """Height and width of a row."""
    height, width = cast("Sequence[int]", row["size"])
    return int(height), int(width)


def shown(hw: HW) -> str:
    """A size as people read it."""
    return f"{hw[0]}×{hw[1]}"


def bounds(rows: list[Row]) -> list[str]:
    """A line for each promise on the folded graph that the rows can judge."""
    lines = []
    for hw, bound in BOUNDS:
        lines += [_bound(row, bound) for row in rows if _is_judged(row, hw)]
    return ["\n".join(lines)] if lines else []


def _is_judged(row: Row, hw: HW) -> bool:
    tiny = "tiny" in str(row["model"])
    return tiny and row["runtime"] == FOLDED and size_of(row) == hw and bool(row["ratio_to_naive"])


def _bound(row: Row, bound: float) -> str:
    ratio, low, high = (
        1 / cast(float, row[key])
        for key in ("ratio_to_naive", "ratio_to_naive_high", "ratio_to_naive_low")
    )
    verdict = "holds" if ratio >= bound else "**does not hold**"
    return (
        f"- Folded against naive graph at {shown(size_of(row))}, {threads(row)}: "
        f"{ratio:.2f}× as fast (95 % interval {low:.2f} to {high:.2f}); at least {bound:g}× is "
        f"promised: {verdict}."
    )


def threads(row: Row) -> str:
    """The number of threads in words."""
    count = row["threads"]
    return f"{count} thread" if count == 1 else f"{count} threads"


def milliseconds(key: str) -> Callable[[Row], str]:
    """Shows a time with three digits that count."""

    def show(row: Row) -> str:
        return digits(number_in(row, key))

    return show


def digits(value: float | None) -> str:
    """Three digits that count, or a dash."""
    return "–" if value is None else number(value)


def _ratio(row: Row) -> str:
    ratio = number_in(row, "ratio_to_naive")
    if ratio is None:
        return "–"
    low, high = (digits(number_in(row, f"ratio_to_naive_{end}")) for end in ("low", "high"))
    return f"{digits(ratio)} ({low} to {high})"


def _device(row: Row) -> str:
    if row["timed"] == "host":
        return "host only"
    return " + ".join(digits(number_in(row, f"{part}_p50_ms")) for part in ("copy", "kernel"))


def _difference(row: Row) -> str:
    value = number_in(row, "max_abs_logit_difference")
    return "–" if value is None else f"{value:.1e}"


def _auc(row: Row) -> str:
    value = number_in(row, "validation_auc")
    return "–" if value is None else f"{value:.3f}"


NAMES: tuple[Column, ...] = (
    ("runtime", lambda row: str(row["runtime"])),
    ("model", lambda row: str(row["model"])),
    ("threads", lambda row: str(row["threads"])),
)
TIMES: tuple[Column, ...] = tuple(
    (f"{name}, ms", milliseconds(f"{name}_ms")) for name in ("p50", "p90", "p95", "p99", "max")
)
JUDGED: tuple[Column, ...] = (
    ("samples", lambda row: str(row["samples"])),
    ("× naive", _ratio),
    ("|Δ logit|", _difference),
    ("AUC", _auc),
)
COLUMNS: tuple[Column, ...] = (*NAMES, *TIMES, ("copy + kernel, ms", _device), *JUDGED)


def tables(rows: list[Row], columns: Sequence[Column]) -> list[str]:
    """A heading and a table for each size, from small to large; models in the order of the rows."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    sizes = sorted({size_of(row) for row in rows}, key=lambda hw: hw[0] * hw[1])
    parts = []
    for hw in sizes:
        chosen = [row for row in rows if size_of(row) == hw]
        chosen.sort(key=lambda row: (models.index(row["model"]), -cast(int, row["threads"])))
        cells = [[show(row) for _, show in columns] for row in chosen]
        parts += [f"### {shown(hw)}", markdown_table([name for name, _ in columns], cells)]
    return parts


def missing(rows: list[Row]) -> list[str]:
    """What could not be measured, a line for each reason."""
    measured = {row["runtime"] for row in rows if "missing" not in row}
    reasons: dict[str, list[Row]] = {}
    for row in rows:
        if "missing" in row:
            name = f"{row['runtime']}: " if "runtime" in row else ""
            reasons.setdefault(f"{name}{row['missing']}", []).append(row)
    lines = [
        f"- {reason}" + (f" Here: {_places(where)}." if where[0].get("runtime") in measured else "")
        for reason, where in reasons.items()
    ]
    return ["Not measured:", "\n".join(lines)] if lines else []


def _places(rows: list[Row]) -> str:
    found = [f"{row['model']} at {shown(size_of(row))} with {threads(row)}" for row in rows]
    return "; ".join(dict.fromkeys(found))


def plots(rows: list[Row], stem: str, sizes: Sequence[HW] = PLOTTED) -> dict[str, Figure]:
    """A bar plot for each of the sizes that there are rows of."""
    figures = {}
    for hw in sizes:
        chosen = [row for row in rows if size_of(row) == hw]
        if chosen:
            figures[f"{stem}_{hw[0]}x{hw[1]}"] = bars(chosen, hw)
    return figures


def bars(rows: list[Row], hw: HW) -> Figure:
    """Horizontal bars of p50 with whiskers to p95, a colour for each number of threads."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(_label(row, rows) for row in rows))
    labels.sort(key=lambda label: min(_p50(r) for r in rows if _label(r, rows) == label))
    counts = sorted({cast(int, row["threads"]) for row in rows})
    height = 1.3 + len(labels) * (0.12 + 0.27 * len(counts))
    figure = Figure(figsize=(9, height), layout="constrained", dpi=100)
    axes: Axes = figure.subplots()
    limit = _limit(rows)
    for index, count in enumerate(counts):
        chosen = [row for row in rows if row["threads"] == count]
        places = [
            labels.index(_label(row, rows)) + (index - (len(counts) - 1) / 2) * 0.8 / len(counts)
            for row in chosen
        ]
        _draw(axes, chosen, places, 0.72 / len(counts), COLOURS[index % len(COLOURS)], limit)
    axes.set_xlim(0, limit * 1.2)
    _dress(axes, labels, f"One frame of {shown(hw)}: p50, whisker to p95")
    return figure


def _limit(rows: list[Row]) -> float:
    """Where whiskers end at the latest: one long one must not flatten all bars."""
    return min(max(_p95(row) for row in rows), LONGEST_WHISKER * max(_p50(row) for row in rows))


def _draw(
    axes: Axes, rows: list[Row], places: list[float], thick: float, colour: str, limit: float
) -> None:
    middles = [_p50(row) for row in rows]
    ends = [min(_p95(row), limit) for row in rows]
    axes.barh(places, middles, thick, color=colour, label=threads(rows[0]))
    whiskers: Any = [[0.0] * len(rows), [e - m for e, m in zip(ends, middles, strict=True)]]
    axes.errorbar(middles, places, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=1.2)
    for row, place, end in zip(rows, places, ends, strict=True):
        axes.annotate(
            _told(row, limit),
            (end, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )


def _dress(axes: Axes, labels: list[str], title: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("time of one frame, ms")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.grid(True, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower right" if len(labels) < 4 else "upper right")


def _label(row: Row, rows: list[Row]) -> str:
    several = len({str(r["model"]) for r in rows}) > 1
    return f"{row['model']}\n{row['runtime']}" if several else str(row["runtime"])


def _told(row: Row, limit: float) -> str:
    text = f"{digits(_p50(row))} ms"
    return text if _p95(row) <= limit else f"{text} (p95 {digits(_p95(row))} ms)"


def _p95(row: Row) -> float:
    return cast(float, row["p95_ms"])


def _p50(row: Row) -> float:
    return cast(float, row["p50_ms"])
