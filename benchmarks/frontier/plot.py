"""The frontier as a plot: mean AUC against the work of one frame."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmarks.charts import COLOURS, INK, one_axes, plain_log_ticks
from benchmarks.frontier.places import LEADER, Box, nearest_mark, place, spread
from benchmarks.frontier.record import Frontier, Point, cheapest_first
from benchmarks.frontier.themes import PAPER, both_themes
from training.evaluation.bootstrap import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUDGET_GFLOPS = 20.0
"""A line marks it: the work per frame that the models are meant to stay below."""

UNTOUCHED_TEXT, COMPRESSED_TEXT = "untouched", "mean of compressed"
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h", "p", "<", ">", "*")
_LEADER_INK = "#888888"
_DOTTED: dict[str, Any] = {"linewidth": 1.2, "linestyle": (0, (1, 1.5)), "zorder": 1.8}
_SIDE, _GAP, _RADIUS = 3.0, 14.0, 5.0
"""In points: either mark from its model's middle, neighbouring models, half a mark."""


@dataclass(frozen=True, slots=True)
class _Series:
    """One of the two kinds of marks.

    Attributes:
        text: in the legend.
        colour: of line and marks.
        side: whether its marks stand to the left (−1) or right (1) of their model's middle.
        values: of each model, cheapest first.
    """

    text: str
    colour: str
    side: int
    values: tuple[Estimate | None, ...]


def plot_svg(frontier: Frontier) -> bytes:
    """The plot as an SVG that follows the reader's light or dark theme.

    The same frontier gives the same bytes with the same matplotlib.
    """
    import matplotlib

    # Letters stay letters, so that the names can be searched and read aloud.
    with matplotlib.rc_context({"svg.hashsalt": "patchwatch", "svg.fonttype": "none"}):
        buffer = io.BytesIO()
        draw(frontier).savefig(buffer, format="svg", metadata={"Date": None}, facecolor=PAPER)
    return both_themes(buffer.getvalue().decode()).encode()


def draw(frontier: Frontier) -> Figure:
    """The plot: each model twice, untouched and compressed, with intervals and its name.

    Models of nearly the same work stand side by side. A line joins those that no cheaper model
    matches. Models without a count are left out.
    """
    figure, axes = one_axes("GFLOP of one frame (2·MACs)", "mean AUC over generators")
    figure.set_dpi(72)  # a pixel is a point, as in the SVG
    points = [point for point in cheapest_first(frontier.models) if point.work]
    both = (
        _series(points, UNTOUCHED_TEXT, COLOURS[0], -1),
        _series(points, COMPRESSED_TEXT, COLOURS[1], 1),
    )
    _scale(axes, points, both)
    axes.axvline(BUDGET_GFLOPS, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _legend(figure, both)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or the names would move what they were placed by
    _Drawing(axes, points, both).draw()
    return figure


def _series(points: Sequence[Point], text: str, colour: str, side: int) -> _Series:
    untouched = text == UNTOUCHED_TEXT
    values = tuple(p.untouched() if untouched else p.compressed() for p in points)
    return _Series(text, colour, side, values)


def _scale(axes: Axes, points: Sequence[Point], both: Sequence[_Series]) -> None:
    work = [BUDGET_GFLOPS, *(p.work.gflops for p in points if p.work)]
    axes.set(xscale="log", xlim=(min(work) / 2.5, max(work) * 2.5))
    plain_log_ticks(axes.xaxis)
    ends = [end for one in both for value in one.values if value for end in value] or [0.5, 1.0]
    low, high = min(ends), max(ends)
    room = 0.07 * max(high - low, 0.1)
    axes.set_ylim(low - room, high + room)
    axes.tick_params(which="both", colors=INK)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def _legend(figure: Figure, both: Sequence[_Series]) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D(
            [],
            [],
            color=one.colour,
            linestyle=_DOTTED["linestyle"],
            marker="o",
            markersize=7,
            markerfacecolor=one.colour if one.side < 0 else PAPER,
            label=one.text,
        )
        for one in both
    ]
    bar = Line2D([], [], color=_LEADER_INK, marker="|", linestyle="none", markersize=12)
    bar.set_label("95 % interval")
    figure.legend(
        handles=[*lines, bar],
        loc="outside upper left",
        ncols=3,
        frameon=False,
        labelcolor=INK,
    )


class _Drawing:
    """Marks, lines and names, whose places are worked out in points of the page."""

    def __init__(self, axes: Axes, points: Sequence[Point], both: Sequence[_Series]) -> None:
        self._axes, self._points, self._both = axes, points, both
        work = [point.work.gflops for point in points if point.work]
        self._middles = self._spread(work)
        true = [self._page(x, 0.5)[0] for x in work]
        if any(abs(a - b) > _SIDE for a, b in zip(true, self._middles, strict=True)):
            axes.set_xlabel(f"{axes.get_xlabel()}; nearly equal ones stand side by side")
        self._taken: list[Box] = []

    def draw(self) -> None:
        """All of it; names last, for they go where nothing else is."""
        for one in self._both:
            self._line(one)
            for index, value in enumerate(one.values):
                if value is not None:
                    self._mark(one, index, value)
        self._budget()
        for index, point in enumerate(self._points):
            self._name(index, point)

    def _spread(self, work: Sequence[float]) -> list[float]:
        """Middles in points of ascending GFLOP; none comes to stand beyond the budget's line."""
        line = self._page(BUDGET_GFLOPS, 0.5)[0]
        below = [self._page(x, 0.5)[0] for x in work if x <= BUDGET_GFLOPS]
        above = [self._page(x, 0.5)[0] for x in work if x > BUDGET_GFLOPS]
        room = _SIDE + _RADIUS
        return spread(below, _GAP, high=line - room) + spread(above, _GAP, low=line + room)

    def _page(self, x: float, y: float) -> tuple[float, float]:
        px, py = self._axes.transData.transform((x, y))
        return float(px), float(py)

    def _data(self, px: float, py: float) -> tuple[float, float]:
        x, y = self._axes.transData.inverted().transform((px, py))
        return float(x), float(y)

    def _centre(self, one: _Series, index: int, auc: float) -> tuple[float, float]:
        """Of a mark, in points."""
        return self._middles[index] + one.side * _SIDE, self._page(1.0, auc)[1]

    def _mark(self, one: _Series, index: int, value: Estimate) -> None:
        auc, low, high = value
        px, py = self._centre(one, index, auc)
        x, y = self._data(px, py)
        self._axes.vlines(x, low, high, colors=one.colour, linewidth=1.1, alpha=0.6, zorder=2)
        self._axes.scatter(
            x,
            y,
            s=46,
            marker=_MARKERS[index % len(_MARKERS)],
            facecolors=one.colour if one.side < 0 else PAPER,
            edgecolors=one.colour,
            linewidths=1.4,
            zorder=3,
        )
        self._taken.append(Box(px - _RADIUS, py - _RADIUS, px + _RADIUS, py + _RADIUS))
        ends = [self._page(1.0, end)[1] for end in (low, high)]
        self._taken.append(Box(px - 1.5, ends[0], px + 1.5, ends[1]))

    def _line(self, one: _Series) -> None:
        """Steps through the models that are better than every cheaper one."""
        best, corners = -math.inf, []
        for index, value in enumerate(one.values):
            if value is not None and value[0] > best:
                best = value[0]
                corners.append(self._centre(one, index, best))
        if len(corners) < 2:
            return
        x, y = zip(*(self._data(*corner) for corner in corners), strict=True)
        self._axes.plot(x, y, color=one.colour, drawstyle="steps-post", **_DOTTED)
        for (left, low), (right, high) in pairwise(corners):
            self._taken.append(Box(left, low - 1.5, right, low + 1.5))
            self._taken.append(Box(right - 1.5, low, right + 1.5, high))

    def _budget(self) -> None:
        inside = self._inside()
        px = self._page(BUDGET_GFLOPS, 0.5)[0]
        self._taken.append(Box(px - 2, inside.bottom, px + 2, inside.top))
        text = f"{BUDGET_GFLOPS:g} GFLOP"
        width, height = self._size(text)
        box = Box(px + 4, inside.bottom + 3, px + 4 + width, inside.bottom + 3 + height)
        self._text(text, box)

    def _name(self, index: int, point: Point) -> None:
        marks = [
            self._centre(one, index, value[0])
            for one in self._both
            if (value := one.values[index]) is not None
        ]
        if not marks:
            return
        box = place(self._size(point.name), marks, self._taken, self._inside())
        self._text(point.name, box)
        mark = nearest_mark(box, marks)
        if box.distance(*mark) > LEADER:
            ends = [self._data(*box.nearest(*mark)), self._data(*mark)]
            x, y = zip(*ends, strict=True)
            self._axes.plot(x, y, color=_LEADER_INK, linewidth=0.7, zorder=1.5)

    def _text(self, text: str, box: Box) -> None:
        x, y = self._data(box.left, (box.bottom + box.top) / 2)
        # On paper of its own, or a line of the grid would strike it through.
        paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}
        self._axes.text(
            x, y, text, color=INK, fontsize=9, va="center", parse_math=False, bbox=paper
        )
        self._taken.append(box)

    def _size(self, text: str) -> tuple[float, float]:
        """Width and height in points."""
        trial = self._axes.text(0, 0, text, fontsize=9, parse_math=False, transform=None)
        extent = trial.get_window_extent()
        trial.remove()
        return float(extent.width), float(extent.height)

    def _inside(self) -> Box:
        extent = self._axes.get_window_extent()
        return Box(extent.x0 + 3, extent.y0 + 3, extent.x1 - 3, extent.y1 - 3)
