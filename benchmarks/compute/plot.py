"""The plot of the compute part of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmarks.charts import COLOURS, INK, figure_of, one_axes, size_name
from benchmarks.compute.names import FORMS, STUDENT, Key, SizeHW, Table, model_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTTED_HW: SizeHW = (256, 256)
_MARKERS = ("o", "D", "s")
_TEACHERS = "ladeda"

Point = tuple[float, float]


def parameters_and_flops(table: Table) -> Figure:
    """Parameters against FLOPs of one picture of `PLOTTED_HW`, both logarithmic."""
    y_label = f"FLOPs of one {size_name(*PLOTTED_HW)} picture (2·MACs)"
    figure, axes = one_axes("Parameters (numbers stored)", y_label)
    for (form, text), colour, marker in zip(FORMS.items(), COLOURS, _MARKERS, strict=False):
        points = _points(table, [key for key in table if key[2] == form])
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, s=72, c=colour, marker=marker, alpha=0.75, lw=0, label=text)
    _scale(axes, _points(table, list(table)))
    students = [key for key in table if key[0] == STUDENT]
    teachers = [key for key in table if key[0].startswith(_TEACHERS)]
    others = [key for key in table if key not in students and key not in teachers]
    _label(axes, _points(table, students), _student_names(students), above=True)
    _label(axes, _points(table, teachers), _teacher_names(teachers), above=False)
    for name in dict.fromkeys(model_name(key[0]) for key in others):
        named = [key for key in others if model_name(key[0]) == name]
        _label(axes, _points(table, named), name, above=True)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _points(table: Table, keys: Sequence[Key]) -> list[Point]:
    rows = [table[key][PLOTTED_HW] for key in keys if PLOTTED_HW in table[key]]
    return [(figure_of(row, "parameters"), figure_of(row, "flops")) for row in rows]


def _scale(axes: Axes, points: Sequence[Point]) -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter

    axes.set(xscale="log", yscale="log")
    axes.set_xlim(_decades(x for x, _ in points))
    axes.set_ylim(_decades(y for _, y in points))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter(sep=" "))
        axis.set_minor_formatter(NullFormatter())


def _decades(values: Iterable[float]) -> tuple[float, float]:
    """Limits on whole decades, with room for labels."""
    powers = [math.log10(value) for value in values]
    return 10 ** math.floor(min(powers) - 0.3), 10 ** math.ceil(max(powers) + 0.3)


def _label(axes: Axes, points: Sequence[Point], text: str, above: bool) -> None:
    """One label for a cluster: its points would leave no room for their own."""
    if points:
        x, y = zip(*points, strict=True)
        axes.annotate(
            text,
            (math.sqrt(min(x) * max(x)), max(y) if above else min(y)),
            xytext=(0, 12 if above else -12),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            color=INK,
        )


def _student_names(keys: Iterable[Key]) -> str:
    return f"Tiny-LaDeDa\n({', '.join(dict.fromkeys(key[1] for key in keys))})"


def _teacher_names(keys: Iterable[Key]) -> str:
    sides = {int(key[0].removeprefix(_TEACHERS)) for key in keys}
    return f"LaDeDa-{', '.join(map(str, sorted(sides)))}"
