"""How the cost grows with pixels, batch and cameras, and with which exponent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from benchmarks.charts import (
    COLOURS,
    figure_of,
    missing_lines,
    one_axes,
    plain_log_ticks,
    size_name,
)
from benchmarks.rounds import Candidate, run_rounds, timing
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.stats import CONFIDENCE_PERCENT
from benchmarks.tables import markdown_table
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
BATCH_HW = (256, 256)
CAMERAS = tuple(range(1, 9))
CAMERA_HW = (720, 1280)
CAMERA_FPS = 30
DRAWS = 2000
_UNITS = {"pixels": "pixels", "batch": "frames in a batch", "cameras": "cameras"}

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """time = factor · x^exponent.

    Attributes:
        exponent: slope of the least-squares line through log time against log x.
        factor: seconds, or whatever unit the times had, at x = 1.
        low: lower end of the exponent's 95 % interval; None where there was one round only.
        high: its upper end.
    """

    exponent: float
    factor: float
    low: float | None = None
    high: float | None = None


def fit_power(
    xs: Sequence[float], samples: Sequence[Sequence[float]], seed: int, draws: int = DRAWS
) -> Fit:
    """Fit a power law through the median of each point's rounds.

    The interval is a percentile bootstrap over rounds (Efron, 1979). A draw takes the same rounds
    for every point: a slow moment of the machine fell on all of them.

    Args:
        xs: positive, at least two different ones.
        samples: for each x the positive times of rounds 1, 2, …; surplus rounds are left out of
            the interval where a run was interrupted.
        seed: of the draws.
        draws: how many.

    Raises:
        ValueError: fewer than two different x, a point without samples, or one not positive.
    """
    if len(set(xs)) < 2 or len(xs) != len(samples) or not all(samples):
        raise ValueError("a power law needs samples at two different points at least")
    if min(xs) <= 0 or min(map(min, samples)) <= 0:
        raise ValueError("a power law needs points and times above zero")
    log_x = np.log(np.asarray(xs, np.float64))
    slope, height = _line(log_x, np.log([[np.median(times)] for times in samples]))
    rounds = min(map(len, samples))
    if rounds < 2:
        return Fit(float(slope[0]), float(np.exp(height[0])))
    paired = np.array([times[:rounds] for times in samples], np.float64)
    picks = np.random.default_rng(seed).integers(0, rounds, (draws, rounds))
    slopes, _ = _line(log_x, np.log(np.median(paired[:, picks], axis=2)))
    tail = (100 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(slopes, [tail, 100 - tail])
    return Fit(float(slope[0]), float(np.exp(height[0])), float(low), float(high))


def _line(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    # y is [points, lines]; slope and height of each line.
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    return slope, y.mean(axis=0) - slope * x.mean()


@dataclass(frozen=True, slots=True)
class _Point:
    kind: str
    x: int
    candidate: Candidate
    known: Row


class ScalingSection:
    """The smallest shipped model at growing sizes, in growing batches and for several cameras.

    Args:
        model: a model file that takes any size; the smallest shipped one if None.
        sizes: (height, width) pairs to measure; by default from 128² to 4K.
        cameras: numbers of cameras.
    """

    name = "scaling"
    title = "Scaling"

    def __init__(
        self,
        model: Path | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
        cameras: Sequence[int] | None = None,
    ) -> None:
        self._model = model or find_model(TINY)
        self._sizes = sizes
        self._cameras = cameras
        self._points: list[_Point] = []
        self._seed = 0

    def steps(self, plan: Plan) -> int:
        """Ticks are spread evenly over the time."""
        return 6 if plan.quick else 30

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Time every point in rounds until the budget is spent; one round at least.

        Raises:
            ModelError: the model file cannot be used.
        """
        until = time.perf_counter() + plan.budget_s[self.name]
        self._seed = plan.seed
        with ExitStack() as stack:
            backends = {
                threads: stack.enter_context(open_backend(self._model, threads))
                for threads in plan.threads
            }
            self._points = self._plan_points(plan, backends)
            candidates = [point.candidate for point in self._points]
            run_rounds(candidates, until, tick, self.steps(plan))

    def rows(self) -> list[Row]:
        """A row for each point that was reached, then one for each fitted exponent."""
        reached = [point for point in self._points if point.candidate.calls_s]
        rows = [_point_row(point) for point in reached]
        return rows + _fit_rows(rows, self._seed)

    def _plan_points(self, plan: Plan, backends: dict[int, Backend]) -> list[_Point]:
        sizes = self._sizes or (QUICK_SIZES if plan.quick else SIZES)
        cameras = self._cameras or (CAMERAS[::2] if plan.quick else CAMERAS)
        rng = np.random.default_rng(plan.seed)
        pictures = {hw: rng.integers(0, 256, (1, *hw, 3), np.uint8) for hw in sizes}
        most = max(backends)
        points = [
            _pixels_point(backends[threads], self._model.stem, threads, picture)
            for threads in backends
            for picture in pictures.values()
        ]
        frames = rng.integers(0, 256, (max(BATCHES), *BATCH_HW, 3), np.uint8)
        for batch in BATCHES:
            points.append(_batch_point(backends[most], self._model.stem, most, frames[:batch]))
        views = [rng.integers(0, 256, (*CAMERA_HW, 3), np.uint8) for _ in range(max(cameras))]
        for count in cameras:
            points.append(_cameras_point(backends[most], self._model.stem, most, views[:count]))
        return points


def _pixels_point(
    backend: Backend, model: str, threads: int, frames: npt.NDArray[np.uint8]
) -> _Point:
    _, height, width, _ = frames.shape
    known: Row = {"model": model, "threads": threads, "size": size_name(height, width)}
    label = f"{size_name(height, width)}, {threads} threads"
    call = _infer(backend, frames)
    return _Point("pixels", height * width, Candidate(label, call), known)


def _batch_point(
    backend: Backend, model: str, threads: int, frames: npt.NDArray[np.uint8]
) -> _Point:
    count, height, width, _ = frames.shape
    known: Row = {"model": model, "threads": threads, "size": size_name(height, width)}
    return _Point("batch", count, Candidate(f"batch of {count}", _infer(backend, frames)), known)


def _cameras_point(backend: Backend, model: str, threads: int, views: list[Image]) -> _Point:
    height, width = CAMERA_HW
    known: Row = {"model": model, "threads": threads, "size": size_name(height, width)}
    candidate = Candidate(f"{len(views)} cameras", _sweep(backend, views))
    return _Point("cameras", len(views), candidate, known)


def _infer(backend: Backend, frames: npt.NDArray[np.uint8]) -> Callable[[], object]:
    return lambda: backend.infer(frames)


def _sweep(backend: Backend, views: list[Image]) -> Callable[[], object]:
    """One frame of each camera in turn: region, model, and a verdict of its own."""
    detector = Detector(backend, parse_region("native"))
    calibration = backend.manifest.calibration
    trackers = [VerdictTracker(calibration, VerdictSettings()) for _ in views]

    def sweep() -> None:
        for view, tracker in zip(views, trackers, strict=True):
            evidence = combine(detector.detect(view, Stopwatch()))
            tracker.update(time.perf_counter(), evidence.logit)

    return sweep


def _point_row(point: _Point) -> Row:
    timed = timing(point.candidate)
    p50_ms = figure_of(timed, "p50_ms")
    row: Row = {"kind": point.kind, **point.known, point.kind: point.x, **timed}
    if point.kind == "pixels":
        row["p50_ms_per_mpixel"] = p50_ms / (point.x / 1e6)
    if point.kind == "batch":
        row["p50_ms_per_frame"] = p50_ms / point.x
    if point.kind == "cameras":
        row["camera_fps"] = 1e3 / p50_ms
        row["total_fps"] = 1e3 * point.x / p50_ms
    return row


def _fit_rows(rows: list[Row], seed: int) -> list[Row]:
    fits: list[Row] = []
    for kind in _UNITS:
        for threads, group in _by_threads(_of(rows, kind)):
            xs = [figure_of(row, kind) for row in group]
            if len(set(xs)) < 2:
                continue
            fit = fit_power(xs, [_samples_ms(row) for row in group], seed)
            fits.append(_fit_row(kind, threads, len(xs), fit))
    return fits


def _fit_row(kind: str, threads: int, points: int, fit: Fit) -> Row:
    row: Row = {
        "kind": "fit",
        "of": kind,
        "threads": threads,
        "points": points,
        "exponent": fit.exponent,
        "factor_ms": fit.factor,
    }
    if fit.low is not None and fit.high is not None:
        row |= {"exponent_low": fit.low, "exponent_high": fit.high}
    return row


def _samples_ms(row: Row) -> list[float]:
    samples = row["samples_ms"]
    if not isinstance(samples, list):
        raise ValueError(f"expected a list of samples_ms in a row, found {samples!r}")
    return [float(sample) for sample in samples]


def _of(rows: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.get("kind") == kind and "missing" not in row]


def _by_threads(rows: list[Row]) -> list[tuple[int, list[Row]]]:
    counts = sorted({int(figure_of(row, "threads")) for row in rows})
    return [(count, [r for r in rows if r["threads"] == count]) for count in counts]


def render(rows: list[Row]) -> Rendered:
    """Tables and plots of a result file's rows.

    Raises:
        ValueError: the rows are of another version.
    """
    parts = [_pixels_table(rows), _batch_table(rows), _cameras_table(rows), _fit_text(rows)]
    parts.append("\n".join(missing_lines(rows)))
    plots = {"pixels": _plot_pixels, "batch": _plot_batch, "cameras": _plot_cameras}
    figures = {f"scaling_{kind}": plot(rows) for kind, plot in plots.items() if _of(rows, kind)}
    return Rendered("\n\n".join(part for part in parts if part), figures)


def _pixels_table(rows: list[Row]) -> str:
    body = [
        (
            str(row["size"]),
            f"{figure_of(row, 'pixels'):,.0f}",
            f"{figure_of(row, 'threads'):.0f}",
            *_times(row),
            f"{figure_of(row, 'p50_ms_per_mpixel'):.2f}",
        )
        for row in _of(rows, "pixels")
    ]
    head = ("picture", "pixels", "threads", "p50 ms", "best ms", "calls", "p50 ms per megapixel")
    return "**Pixels.** One picture at a time.\n\n" + markdown_table(head, body) if body else ""


def _batch_table(rows: list[Row]) -> str:
    body = [
        (
            f"{figure_of(row, 'batch'):.0f}",
            f"{figure_of(row, 'threads'):.0f}",
            *_times(row),
            f"{figure_of(row, 'p50_ms_per_frame'):.3f}",
        )
        for row in _of(rows, "batch")
    ]
    head = ("batch", "threads", "p50 ms", "best ms", "calls", "p50 ms per frame")
    return "**Batch.** Pictures of 256².\n\n" + markdown_table(head, body) if body else ""


def _cameras_table(rows: list[Row]) -> str:
    body = [
        (
            f"{figure_of(row, 'cameras'):.0f}",
            f"{figure_of(row, 'threads'):.0f}",
            *_times(row),
            f"{figure_of(row, 'camera_fps'):.1f}",
            f"{figure_of(row, 'total_fps'):.1f}",
        )
        for row in _of(rows, "cameras")
    ]
    head = ("cameras", "threads", "p50 ms a sweep", "best ms", "sweeps", "fps each", "fps in total")
    text = (
        "**Cameras.** 720p frames that lie in memory, scored in turn by one shared backend in one "
        "process: region, model and verdict of each camera; no decoding, no drawing.\n\n"
    )
    return text + markdown_table(head, body) if body else ""


def _times(row: Row) -> tuple[str, str, str]:
    return (
        f"{figure_of(row, 'p50_ms'):.3f}",
        f"{figure_of(row, 'best_ms'):.3f}",
        f"{figure_of(row, 'repeats'):.0f}",
    )


def _fit_text(rows: list[Row]) -> str:
    lines = [_fit_line(row) for row in _of(rows, "fit")]
    if not lines:
        return ""
    text = (
        "**Exponent.** Time grows as xᵇ; b is fitted by least squares to the logarithms of the "
        "medians, its 95 % interval by a bootstrap over rounds. 1 is proportional; below 1 a fixed "
        "cost of each call is shared out; above 1 the larger work runs less well, as when it no "
        "longer fits the cache.\n\n"
    )
    return text + "\n".join(lines)


def _fit_line(row: Row) -> str:
    exponent = figure_of(row, "exponent")
    interval = ""
    if "exponent_low" in row:
        low, high = figure_of(row, "exponent_low"), figure_of(row, "exponent_high")
        interval = f" ({low:.3f} to {high:.3f})"
    unit = _UNITS[str(row["of"])]
    return (
        f"- {unit}, {_threads(row)}: b = {exponent:.3f}{interval} over {row['points']} points; "
        f"twice the {unit} cost {2**exponent:.2f}× the time."
    )


def _threads(row: Row) -> str:
    count = int(figure_of(row, "threads"))
    return "1 thread" if count == 1 else f"{count} threads"


def _plot_pixels(rows: list[Row]) -> Figure:
    figure, axes = one_axes("pixels in a picture", "time of a picture, p50 (ms)")
    axes.set_xscale("log")
    axes.set_yscale("log")
    fits = {row["threads"]: row for row in _of(rows, "fit") if row["of"] == "pixels"}
    for colour, (threads, group) in zip(COLOURS, _by_threads(_of(rows, "pixels")), strict=False):
        xs = [figure_of(row, "pixels") for row in group]
        label = _threads(group[0])
        if threads in fits:
            fit = fits[threads]
            exponent, factor = figure_of(fit, "exponent"), figure_of(fit, "factor_ms")
            ys = [factor * x**exponent for x in xs]
            axes.plot(xs, ys, color=colour, linewidth=1.2, linestyle="--")
            label += f": pixels to the power {exponent:.2f}"
        p50_ms = [figure_of(row, "p50_ms") for row in group]
        axes.plot(xs, p50_ms, "o", color=colour, markersize=7, label=label)
    names = [(figure_of(row, "pixels"), row) for row in _of(rows, "pixels")]
    _name_sizes(axes.get_xaxis_transform(), axes.annotate, names)
    axes.set_ylim(bottom=axes.get_ylim()[0] / 2)
    plain_log_ticks(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _name_sizes(
    transform: object, annotate: Callable[..., object], names: list[tuple[float, Row]]
) -> None:
    for pixels, row in dict(names).items():
        annotate(
            str(row["size"]),
            (pixels, 0.02),
            xycoords=transform,
            ha="center",
            fontsize=9,
            color="#666666",
        )


def _plot_batch(rows: list[Row]) -> Figure:
    figure, axes = one_axes("frames in a batch (256²)", "time of a frame, p50 (ms)")
    axes.set_xscale("log", base=2)
    for colour, (_, group) in zip(COLOURS, _by_threads(_of(rows, "batch")), strict=False):
        xs = [figure_of(row, "batch") for row in group]
        ys = [figure_of(row, "p50_ms_per_frame") for row in group]
        axes.plot(xs, ys, "o-", color=colour, label=_threads(group[0]))
        axes.set_xticks(xs, [f"{x:.0f}" for x in xs])
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower left")
    return figure


def _plot_cameras(rows: list[Row]) -> Figure:
    figure, axes = one_axes("cameras of 720p on one backend", "frames per second")
    group = _of(rows, "cameras")
    xs = [figure_of(row, "cameras") for row in group]
    total = [figure_of(row, "total_fps") for row in group]
    each = [figure_of(row, "camera_fps") for row in group]
    axes.plot(xs, total, "s-", color=COLOURS[1], label="all cameras together")
    axes.plot(xs, each, "o-", color=COLOURS[0], label="each camera")
    axes.axhline(CAMERA_FPS, color="#888888", linewidth=1, linestyle="--")
    axes.annotate(
        f"{CAMERA_FPS} fps",
        (max(xs), CAMERA_FPS),
        (0, 4),
        ha="right",
        color="#666666",
        textcoords="offset points",
    )
    axes.set_xticks(xs)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure
