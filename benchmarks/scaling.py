"""How the cost grows with pixels, batch and cameras, and with which exponent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.charts import (
    COLOURS,
    figure_of,
    missing_lines,
    one_axes,
    plain_log_ticks,
    size_name,
    threads_of,
)
from benchmarks.rounds import Candidate, run_rounds, timing
from benchmarks.section import Plan, Rendered, Row, Tick, of_kind
from benchmarks.stats import fit_power
from benchmarks.tables import table_of
from edge.backends import open_backend
from edge.backends.base import Backend
from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.detector import Detector, Stopwatch, combine
from edge.regions import parse_region
from edge.types import Image
from edge.weights import TINY, find_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDES = (128, 184, 256, 360, 512, 728, 1024, 1448, 2048)
"""Squares, each of about twice the pixels of the one before; 4K would be the next."""

SIZES = (*((side, side) for side in SIDES), (2160, 3840))
QUICK_SIZES = SIZES[:-1:2]
BATCHES = (1, 2, 4, 8)
BATCH_HW, CAMERA_HW = (256, 256), (720, 1280)
CAMERAS = tuple(range(1, 9))
UNITS = {"pixels": "pixels", "batch": "frames in a batch", "cameras": "cameras"}


@dataclass(frozen=True, slots=True)
class _Point:
    kind: str
    x: int
    known: Row
    candidate: Candidate

    def row(self) -> Row:
        timed = timing(self.candidate)
        p50_ms = figure_of(timed, "p50_ms")
        row: Row = {"kind": self.kind, **self.known, self.kind: self.x, **timed}
        if self.kind == "cameras":
            return row | {"camera_fps": 1e3 / p50_ms, "total_fps": 1e3 * self.x / p50_ms}
        unit, units = ("mpixel", self.x / 1e6) if self.kind == "pixels" else ("frame", self.x)
        return row | {f"p50_ms_per_{unit}": p50_ms / units}


class ScalingSection:
    """The smallest shipped model at growing sizes, in growing batches and for several cameras.

    Args:
        sizes: (height, width) pairs to measure; by default from 128² to 4K.
        cameras: numbers of cameras.
    """

    name = "scaling"
    title = "Scaling"

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]] | None = None,
        cameras: Sequence[int] | None = None,
    ) -> None:
        self._sizes = sizes
        self._cameras = cameras
        self._points: list[_Point] = []
        self._seed = 0

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Time every point in rounds until the budget is spent; one round at least.
        Raises ModelError: the model file cannot be used.
        """
        until = time.perf_counter() + plan.budget_s[self.name]
        self._seed = plan.seed
        with ExitStack() as stack:
            for threads in plan.threads:
                backend = stack.enter_context(open_backend(find_model(TINY), threads))
                self._points += self._points_of(plan, backend, threads)
            candidates = [point.candidate for point in self._points]
            run_rounds(candidates, until, tick)

    def rows(self) -> list[Row]:
        """A row for each point that was reached, then one for each fitted exponent."""
        rows = [point.row() for point in self._points if point.candidate.calls_s]
        return [*rows, *_fit_rows(rows, self._seed)]

    def _points_of(self, plan: Plan, backend: Backend, threads: int) -> Iterator[_Point]:
        rng = np.random.default_rng(plan.seed)

        def point(kind: str, x: int, hw: tuple[int, int], call: Callable[[], object]) -> _Point:
            known: Row = {"model": TINY, "threads": threads, "size": size_name(*hw)}
            return _Point(kind, x, known, Candidate(f"{x} {UNITS[kind]}, {threads} threads", call))

        for hw in self._sizes or (QUICK_SIZES if plan.quick else SIZES):
            frames = rng.integers(0, 256, (1, *hw, 3), np.uint8)
            yield point("pixels", hw[0] * hw[1], hw, partial(backend.infer, frames))
        if threads != max(plan.threads):
            return
        frames = rng.integers(0, 256, (max(BATCHES), *BATCH_HW, 3), np.uint8)
        for batch in BATCHES:
            yield point("batch", batch, BATCH_HW, partial(backend.infer, frames[:batch]))
        views = [rng.integers(0, 256, (*CAMERA_HW, 3), np.uint8) for _ in CAMERAS]
        for count in self._cameras or (CAMERAS[::2] if plan.quick else CAMERAS):
            yield point("cameras", count, CAMERA_HW, sweep(backend, views[:count]))


def sweep(backend: Backend, views: Sequence[Image]) -> Callable[[], object]:
    """One frame of each camera in turn: region, model, and a verdict of its own."""
    detector = Detector(backend, parse_region("native"))
    settings, calibration = VerdictSettings(), backend.manifest.calibration
    trackers = [VerdictTracker(calibration, settings) for _ in views]

    def call() -> None:
        for view, tracker in zip(views, trackers, strict=True):
            evidence = combine(detector.detect(view, Stopwatch()))
            tracker.update(time.perf_counter(), evidence.logit)

    return call


def _fit_rows(rows: list[Row], seed: int) -> Iterator[Row]:
    for kind in UNITS:
        for threads, group in _by_threads(of_kind(rows, kind)):
            xs = [figure_of(row, kind) for row in group]
            if len(set(xs)) > 1:
                fit = fit_power(xs, [cast("list[float]", row["samples_ms"]) for row in group], seed)
                row: Row = {"kind": "fit", "of": kind, "threads": threads, "points": len(xs)}
                row |= {"exponent": fit.exponent, "factor_ms": fit.factor}
                ends = {"exponent_low": fit.low, "exponent_high": fit.high}
                yield row | (ends if fit.low is not None else {})


def _by_threads(rows: Iterable[Row]) -> list[tuple[int, list[Row]]]:
    rows = list(rows)
    counts = sorted({int(figure_of(row, "threads")) for row in rows})
    return [(count, [r for r in rows if r["threads"] == count]) for count in counts]


_TIMES = ("threads", "p50_ms", "best_ms", "repeats")
_TABLES = {
    "pixels": ("One picture at a time.", ("size", *_TIMES, "p50_ms_per_mpixel")),
    "batch": ("Pictures of 256².", ("batch", *_TIMES, "p50_ms_per_frame")),
    "cameras": (
        "720p frames that lie in memory, scored in turn by one shared backend in one process: "
        "region, model and verdict of each camera; no decoding, no drawing.",
        ("cameras", *_TIMES, "camera_fps", "total_fps"),
    ),
}
_EXPONENT = (
    "**Exponent.** Time grows as xᵇ; b is fitted by least squares to the logarithms of the "
    "medians, its 95 % interval by a bootstrap over rounds. 1 is proportional; below 1 a fixed "
    "cost of each call is shared out; above 1 the larger work runs less well, as when it no "
    "longer fits the cache."
)


def render(rows: list[Row]) -> Rendered:
    """Tables and plots of a result file's rows.
    Raises ValueError: the rows are of another version.
    """
    parts, figures = [], {}
    for kind, (text, keys) in _TABLES.items():
        if found := of_kind(rows, kind):
            parts.append(f"**{kind.capitalize()}.** {text}\n\n{table_of(found, keys)}")
            figures[f"scaling_{kind}"] = _plot(rows, kind)
    fits = [_fit_line(row) for row in of_kind(rows, "fit")]
    parts += [_EXPONENT + "\n\n" + "\n".join(fits)] if fits else []
    return Rendered("\n\n".join([*parts, *missing_lines(rows)]), figures)


def _fit_line(row: Row) -> str:
    exponent, unit = figure_of(row, "exponent"), UNITS[str(row["of"])]
    interval = ""
    if "exponent_low" in row:
        low, high = figure_of(row, "exponent_low"), figure_of(row, "exponent_high")
        interval = f" ({low:.3f} to {high:.3f})"
    return (
        f"- {unit}, {threads_of(row)}: b = {exponent:.3f}{interval} over {row['points']} points; "
        f"twice the {unit} cost {2**exponent:.2f}× the time."
    )


def _plot(rows: list[Row], kind: str) -> Figure:
    y_key, y_label = {
        "pixels": ("p50_ms", "time of a picture, p50 (ms)"),
        "batch": ("p50_ms_per_frame", "time of a frame, p50 (ms)"),
        "cameras": ("total_fps", "frames per second of all cameras"),
    }[kind]
    figure, axes = one_axes(UNITS[kind], y_label)
    for colour, (_, group) in zip(COLOURS, _by_threads(of_kind(rows, kind)), strict=False):
        points = [(figure_of(row, kind), figure_of(row, y_key)) for row in group]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=threads_of(group[0]))
    if kind == "pixels":
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure
