"""Reading rows, and drawing axes: what the sections' reports share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.section import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442", "#999999")
"""Distinct for the colour-blind too (Okabe and Ito, 2008)."""

INK = "#333333"


def figure_of(row: Row, key: str) -> float:
    """A figure of a row.
    Raises ValueError: absent, or not a number; the result file is of another version.
    """
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected the number {key!r} in a row, found {value!r}")
    return float(value)


def missing_lines(rows: Iterable[Row]) -> list[str]:
    """A list item for each reason why something could not be measured."""
    reasons = dict.fromkeys(str(row["missing"]) for row in rows if "missing" in row)
    return [f"- Not measured: {reason}" for reason in reasons]


def size_name(height: int, width: int) -> str:
    """256², 720p, 1080p, 4K, or width×height."""
    known = {(720, 1280): "720p", (1080, 1920): "1080p", (2160, 3840): "4K"}
    square = f"{height}²" if height == width else f"{width}×{height}"
    return known.get((height, width), square)


def threads_of(row: Row) -> str:
    """The number of threads in words."""
    return "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"


def plain_log_ticks(axis: Axis) -> None:
    """Plain numbers, 0.5 and 20, at 1, 2 and 5 of each decade of a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def one_axes(x_label: str, y_label: str, height: float = 5.2) -> tuple[Figure, Axes]:
    """A figure 900 px wide with one set of axes and a quiet grid; height in units of 100 px."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes
