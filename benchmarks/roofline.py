"""How far the smallest shipped model is from what this machine could do at most.

The roofline model (Williams, Waterman and Patterson, 2009): work of I FLOPs per byte of memory
traffic runs at no more than min(peak, I · bandwidth). Both limits are measured here, as the best
that several probes reached; none comes from a data sheet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import charts
from benchmarks.charts import figure_of
from benchmarks.rounds import Candidate, run_rounds, timing
from benchmarks.section import Plan, Rendered, Row, Tick, of_kind
from benchmarks.tables import table_of
from edge.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = ((256, 256), (720, 1280), (1080, 1920))
PRODUCTS = {"product": (1536, 1536, 1536), "convolution as product": (32768, 576, 64)}
"""Rows, inner length, columns; the second as of a 3×3 convolution of 64 to 64 channels."""

ARRAYS_PER_CACHE = 4
LEAST_ARRAY_BYTES = 64 * 2**20
CACHE_INDEX = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True, slots=True)
class _Work:
    """Something timed: what a row says of it, and FLOPs (0 of a mere move) and bytes of a call."""

    known: Row
    flops: float
    moved: float
    candidate: Candidate


class RooflineSection:
    """Peak rate and bandwidth of the machine, and the smallest shipped model beside them.

    Args:
        sizes: (height, width) pairs of the model's pictures.
        array_bytes: of an array of the memory probes; four times the last-level cache if None.
    """

    name = "roofline"
    title = "Distance from the machine's limit"

    def __init__(
        self, sizes: tuple[tuple[int, int], ...] = SIZES, array_bytes: int | None = None
    ) -> None:
        self._sizes = sizes
        self._array_bytes = array_bytes
        self._probes: list[_Work] = []
        self._models: list[_Work] = []

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Time probes and model in the same rounds until the budget is spent; one at least.

        Raises:
            MissingDependency: onnx or torch is absent.
            ModelError: the model file cannot be used, or has an operator that is not counted.
        """
        until = time.perf_counter() + plan.budget_s[self.name]
        size = self._array_bytes or max(ARRAYS_PER_CACHE * cache_bytes(), LEAST_ARRAY_BYTES)
        with ExitStack() as stack:
            try:
                for threads in plan.threads:
                    self._probes += _probes(threads, size)
                    self._models += self._model_at(threads, stack)
            except ModuleNotFoundError as error:
                raise MissingDependency(
                    str(error.name), "find the machine's limits", "pip install 'patchwatch[train]'"
                ) from error
            candidates = [work.candidate for work in (*self._probes, *self._models)]
            run_rounds(candidates, until, tick)

    def rows(self) -> list[Row]:
        """Probes, then the limits that they give for each number of threads, then the model."""
        probes = [_probe_row(work) for work in self._probes if work.candidate.calls_s]
        limits = limit_rows(probes)
        by_threads = {row["threads"]: row for row in limits}
        done = [work for work in self._models if work.candidate.calls_s and limits]
        return [*probes, *limits, *(_model_row(w, by_threads[w.known["threads"]]) for w in done)]

    def _model_at(self, threads: int, stack: ExitStack) -> Iterator[_Work]:
        import onnx

        from benchmarks.flops import count_graph
        from edge.backends import open_backend
        from edge.weights import TINY, find_model

        path = find_model(TINY)
        proto, backend = onnx.load(str(path)), stack.enter_context(open_backend(path, threads))
        for height, width in self._sizes:
            shape = (1, height, width, 3)
            frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            count = count_graph(proto, {"frames": shape})
            size = charts.size_name(height, width)
            known: Row = {"model": TINY, "size": size, "threads": threads, "macs": count.macs}
            call = Candidate(f"model at {size}, {threads} threads", partial(backend.infer, frames))
            yield _Work(known, count.flops, count.traffic_bytes, call)


def cache_bytes(index: Path = CACHE_INDEX) -> int:
    """Size of the largest cache of the first core; 8 MiB where the system does not say."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    texts = [path.read_text(encoding="utf-8").strip() for path in index.glob("index*/size")]
    return max((int(text[:-1]) * units[text[-1]] for text in texts), default=8 * 2**20)


def _probes(threads: int, array_bytes: int) -> Iterator[_Work]:
    import torch

    def probe(name: str, flops: float, moved: float, call: Callable[[], object]) -> _Work:
        def run() -> None:
            # Set for each call, since probes of several numbers of threads take turns.
            torch.set_num_threads(threads)
            call()

        measures = "compute" if flops else "bandwidth"
        known: Row = {"measures": measures, "name": name, "threads": threads}
        return _Work(known, flops, moved, Candidate(f"{name}, {threads} threads", run))

    for name, (m, k, n) in PRODUCTS.items():
        x, y, out = torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)
        yield probe(name, 2 * m * k * n, 0, partial(torch.mm, x, y, out=out))
    a, b, c = (torch.ones(array_bytes // 4) for _ in range(3))
    # Arrays that the program names; a store also fetches its line, which is not counted.
    yield probe("copy", 0, 2 * array_bytes, partial(c.copy_, a))
    yield probe("triad", 0, 3 * array_bytes, partial(torch.add, a, b, alpha=3.0, out=c))
    yield probe("sum", 0, array_bytes, partial(torch.sum, a))


def _probe_row(work: _Work) -> Row:
    timed = timing(work.candidate)
    unit, amount = ("gflops", work.flops) if work.flops else ("gb_s", work.moved)
    rates = {f"{x}_{unit}": amount / figure_of(timed, f"{x}_ms") / 1e6 for x in ("p50", "best")}
    return {"kind": "probe", **work.known, **timed, **rates}


def limit_rows(probes: list[Row]) -> list[Row]:
    """For each number of threads the best that any probe of that many or fewer threads reached."""
    limits: list[Row] = []
    for threads in sorted({int(figure_of(row, "threads")) for row in probes}):
        limit: Row = {"kind": "limit", "threads": threads}
        for key, name in (("best_gflops", "peak_gflops"), ("best_gb_s", "bandwidth_gb_s")):
            here = [row for row in probes if key in row and figure_of(row, "threads") <= threads]
            limit[name] = max((figure_of(row, key) for row in here), default=0.0)
        peak, bandwidth = figure_of(limit, "peak_gflops"), figure_of(limit, "bandwidth_gb_s")
        if peak and bandwidth:
            limits.append(limit | {"ridge_flop_per_byte": peak / bandwidth})
    return limits


def _model_row(work: _Work, limit: Row) -> Row:
    timed = timing(work.candidate)
    peak, bandwidth = figure_of(limit, "peak_gflops"), figure_of(limit, "bandwidth_gb_s")
    placed = place(work.flops, work.moved, figure_of(timed, "p50_ms"), peak, bandwidth)
    return {"kind": "model", **work.known, **timed, **placed}


def place(
    flops: float, moved_bytes: float, p50_ms: float, peak_gflops: float, bandwidth_gb_s: float
) -> Row:
    """Where a call stands under the roof: intensity, rate, shares, and which limit binds it.

    Args:
        flops: 2·MACs.
        moved_bytes: read and written, operator by operator.
        p50_ms: its median time.
        peak_gflops: 10⁹ FLOPs per second of the machine.
        bandwidth_gb_s: 10⁹ bytes per second.
    """
    intensity = flops / moved_bytes
    achieved = flops / p50_ms / 1e6
    allowed = min(peak_gflops, intensity * bandwidth_gb_s)
    return {
        "flop_per_byte": intensity,
        "p50_gflops": achieved,
        "share_of_peak_percent": 100 * achieved / peak_gflops,
        "share_of_limit_percent": 100 * achieved / allowed,
        "binds": "compute" if intensity * bandwidth_gb_s >= peak_gflops else "memory",
    }


_TEXT = (
    "FLOPs are 2·MACs of the model file; bytes are those of its operators run one after the other, "
    "each reading its inputs and writing its outputs once. The limit is min(peak, FLOP per byte × "
    "bandwidth); peak and bandwidth are the best that any probe reached with that many threads or "
    "fewer. More than 100 % of it means that the runtime fuses operators or that arrays stay in "
    "the cache and never reach memory."
)
_MODEL = ("size", "threads", "p50_ms", "p50_gflops", "flop_per_byte", "share_of_peak_percent")
_TABLES = {
    "model": (*_MODEL, "binds", "share_of_limit_percent"),
    "limit": ("threads", "peak_gflops", "bandwidth_gb_s", "ridge_flop_per_byte"),
    "probe": ("name", "threads", "p50_gflops", "best_gflops", "p50_gb_s", "best_gb_s", "repeats"),
}


def render(rows: list[Row]) -> Rendered:
    """Tables and the plot of a result file's rows."""
    parts = []
    for kind, keys in _TABLES.items():
        found = of_kind(rows, kind)
        parts += [f"**{kind.capitalize()}s**\n\n{table_of(found, keys)}"] if found else []
    parts += [_TEXT] if parts else []
    markdown = "\n\n".join([*parts, *charts.missing_lines(rows)])
    return Rendered(markdown, {"roofline": _plot(rows)} if of_kind(rows, "limit") else {})


def _plot(rows: list[Row]) -> Figure:
    figure, axes = charts.one_axes(
        "arithmetic intensity (FLOP per byte of traffic)", "rate (GFLOP/s)"
    )
    limits, models = of_kind(rows, "limit"), of_kind(rows, "model")
    known = [figure_of(row, "flop_per_byte") for row in models]
    known += [figure_of(row, "ridge_flop_per_byte") for row in limits]
    xs = np.geomspace(min(known) / 8, max(known) * 12, 200)
    for colour, limit in zip(charts.COLOURS, limits, strict=False):
        peak, bandwidth = figure_of(limit, "peak_gflops"), figure_of(limit, "bandwidth_gb_s")
        label = f"{charts.threads_of(limit)}: {peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s"
        axes.loglog(xs, np.minimum(peak, xs * bandwidth), color=colour, label=label)
        for row in (row for row in models if row["threads"] == limit["threads"]):
            at = (figure_of(row, "flop_per_byte"), figure_of(row, "p50_gflops"))
            axes.plot(*at, "o", color=colour)
            axes.annotate(f" {row['size']}", at, fontsize=9, color=charts.INK, va="center")
    charts.plain_log_ticks(axes.xaxis)
    charts.plain_log_ticks(axes.yaxis)
    axes.legend(frameon=False, loc="lower right")
    return figure
