"""How far the smallest shipped model is from what this machine could do at most.

The roofline model (Williams, Waterman and Patterson, 2009): work of I FLOPs per byte of memory
traffic runs at no more than min(peak, I · bandwidth). Both limits are measured here, as the best
that several probes reached; none comes from a data sheet.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.charts import (
    COLOURS,
    INK,
    figure_of,
    missing_lines,
    one_axes,
    plain_log_ticks,
    size_name,
)
from benchmarks.rounds import Candidate, run_rounds, timing
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.tables import markdown_table, number
from edge.backends import open_backend
from edge.types import FloatArray
from edge.weights import TINY, find_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZES = ((256, 256), (720, 1280), (1080, 1920))
CUBE = 1536
"""Side of the square matrices that are multiplied."""

UNROLLED = (32768, 576, 64)
"""Rows, inner length and columns of a 3×3 convolution of 64 to 64 channels written as a product."""

PICTURE = 128
"""Side of the picture that the convolution probe runs on, 64 to 64 channels, 3×3."""

TIMES_CACHE = 4
"""An array for the memory probes is so many times the last-level cache."""

LEAST_ARRAY_BYTES = 64 * 2**20
ASSUMED_CACHE_BYTES = 8 * 2**20
CACHE_INDEX = Path("/sys/devices/system/cpu/cpu0/cache")
CACHE_PARTS = 16
"""An array of the cache probes is the last-level cache divided by this."""

CACHE_REPEATS = 8
NAME_STEP = 1.2
"""Ratio of the heights of neighbouring names in the plot."""

_Streams = tuple[FloatArray, FloatArray, FloatArray]
_LIBRARIES = {
    "torch": "pip install torch",
    "onnx": "pip install onnx",
}


@dataclass(frozen=True, slots=True)
class _Probe:
    """Work of a known size; `work` is FLOPs, or bytes that the program names."""

    measures: str
    name: str
    threads: int
    work: float
    candidate: Candidate
    allocated: float = 0.0
    array_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Scored:
    """The model at one size."""

    hw: tuple[int, int]
    threads: int
    macs: int
    traffic_bytes: int
    least_bytes: int
    candidate: Candidate


class RooflineSection:
    """Peak rate and bandwidth of the machine, and the smallest shipped model beside them.

    Args:
        model: a model file that takes any size; the smallest shipped one if None.
        sizes: (height, width) pairs.
        array_bytes: size of an array of the memory probes; four times the last-level cache if None.
    """

    name = "roofline"
    title = "Distance from the machine's limit"

    def __init__(
        self,
        model: Path | None = None,
        sizes: Sequence[tuple[int, int]] = SIZES,
        array_bytes: int | None = None,
    ) -> None:
        self._model = model or find_model(TINY)
        self._sizes = sizes
        self._array_bytes = array_bytes
        self._probes: list[_Probe] = []
        self._scored: list[_Scored] = []
        self._missing: list[Row] = []

    def steps(self, plan: Plan) -> int:
        """Ticks are spread evenly over the time."""
        return 5 if plan.quick else 20

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Time probes and model in the same rounds until the budget is spent; one at least.

        Raises:
            ModelError: the model file cannot be used, or has an operator that is not counted.
        """
        until = time.perf_counter() + plan.budget_s[self.name]
        self._missing = _absent_libraries()
        with ExitStack() as stack:
            streams = _streams(self._array_bytes or _array_bytes())
            for threads in plan.threads:
                self._probes += _probes(threads, streams, stack)
                self._scored += self._model_at(threads, stack)
            candidates = [probe.candidate for probe in self._probes]
            candidates += [item.candidate for item in self._scored]
            run_rounds(candidates, until, tick, self.steps(plan))

    def rows(self) -> list[Row]:
        """Probes, then the limits that they give for each number of threads, then the model."""
        probes = [_probe_row(probe) for probe in self._probes if probe.candidate.calls_s]
        limits = _limit_rows(probes)
        by_threads = {row["threads"]: row for row in limits}
        scored = [
            _model_row(item, self._model.stem, by_threads[item.threads])
            for item in self._scored
            if item.candidate.calls_s and item.threads in by_threads
        ]
        return [*probes, *limits, *scored, *self._missing]

    def _model_at(self, threads: int, stack: ExitStack) -> list[_Scored]:
        if not _is_installed("onnx"):
            return []
        backend = stack.enter_context(open_backend(self._model, threads))
        rng = np.random.default_rng(0)
        scored = []
        for height, width in self._sizes:
            frames = rng.integers(0, 256, (1, height, width, 3), np.uint8)
            label = f"model at {size_name(height, width)}, {threads} threads"
            evidence = backend.infer(frames)[0]
            patches = 0 if evidence.patch_logits is None else evidence.patch_logits.nbytes
            least = frames.nbytes + self._model.stat().st_size + patches
            macs, traffic = _count(self._model, height, width)
            call = _bound(backend.infer, frames)
            scored.append(
                _Scored((height, width), threads, macs, traffic, least, Candidate(label, call))
            )
        return scored


def _count(model: Path, height: int, width: int) -> tuple[int, int]:
    import onnx

    from benchmarks.compute.onnx_counter import count_graph

    counted = count_graph(onnx.load_model(str(model)), {"frames": (1, height, width, 3)})
    return counted.macs, counted.traffic_bytes


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _absent_libraries() -> list[Row]:
    return [
        {
            "kind": "probe",
            "name": library,
            "missing": f"{library} is not installed, and what needs it is left out. Run: {command}",
        }
        for library, command in _LIBRARIES.items()
        if not _is_installed(library)
    ]


def last_level_cache_bytes(index: Path = CACHE_INDEX) -> int:
    """Size of the largest cache of the first core; 8 MiB where the system does not say."""
    sizes = [_size_bytes(path.read_text(encoding="utf-8")) for path in index.glob("index*/size")]
    return max(sizes, default=ASSUMED_CACHE_BYTES)


def _size_bytes(text: str) -> int:
    digits, unit = text.strip()[:-1], text.strip()[-1:]
    return int(digits) * {"K": 2**10, "M": 2**20, "G": 2**30}[unit]


def _array_bytes() -> int:
    return max(TIMES_CACHE * last_level_cache_bytes(), LEAST_ARRAY_BYTES)


def _bound(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _streams(array_bytes: int) -> _Streams:
    a, b, out = (np.ones(array_bytes // 4, np.float32) for _ in range(3))
    return a, b, out


def _probes(threads: int, streams: _Streams, stack: ExitStack) -> Iterator[_Probe]:
    if threads == os.cpu_count():
        yield _numpy_product(threads)
    yield _numpy_copy(threads, streams, stack)
    if _is_installed("torch"):
        yield from _torch_products(threads)
        yield from _torch_streams("bandwidth", threads, streams, 1)
        in_cache = _streams(last_level_cache_bytes() // CACHE_PARTS)
        yield from _torch_streams("cache", threads, in_cache, CACHE_REPEATS)
    if _is_installed("onnx"):
        yield from _runtime_probes(threads)


def _probe(
    measures: str, name: str, threads: int, work: float, call: Callable[[], object]
) -> _Probe:
    return _Probe(measures, name, threads, work, Candidate(f"{name}, {threads} threads", call))


def _numpy_product(threads: int) -> _Probe:
    """On every core alone: the threads of its BLAS are chosen before the process starts."""
    a = np.random.default_rng(0).random((CUBE, CUBE), np.float32)
    out = np.empty_like(a)
    return _probe("compute", "NumPy product", threads, 2 * CUBE**3, _bound(np.matmul, a, a, out))


def _numpy_copy(threads: int, streams: _Streams, stack: ExitStack) -> _Probe:
    pool = stack.enter_context(ThreadPoolExecutor(threads))
    source, _, target = streams
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))

    def copy() -> None:
        for _ in pool.map(lambda part: np.copyto(*part), parts):
            pass

    candidate = Candidate(f"NumPy copy, {threads} threads", copy)
    size = source.nbytes
    return _Probe("bandwidth", "NumPy copy", threads, 2 * size, candidate, 3 * size, size)


def _torch_products(threads: int) -> Iterator[_Probe]:
    import torch

    for name, (m, k, n) in (
        ("torch product", (CUBE, CUBE, CUBE)),
        ("torch convolution as product", UNROLLED),
    ):
        a, b, out = torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)
        call = _with_threads(threads, _bound(_product, a, b, out))
        yield _probe("compute", name, threads, 2 * m * k * n, call)


def _product(a: Any, b: Any, out: Any) -> None:
    import torch

    torch.mm(a, b, out=out)


def _with_threads(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    import torch

    def run() -> None:
        # Set for each call, since probes of several numbers of threads take turns.
        torch.set_num_threads(threads)
        call()

    return run


def _torch_streams(
    measures: str, threads: int, streams: _Streams, repeats: int
) -> Iterator[_Probe]:
    import torch

    a, b, out = map(torch.from_numpy, streams)
    size = streams[0].nbytes
    where = "" if measures == "bandwidth" else " in cache"
    # Arrays named by the program, and arrays moved where a store first fetches its line.
    for operation, named, moved, call in (
        ("torch copy", 2, 3, lambda: out.copy_(a)),
        ("torch triad", 3, 4, lambda: torch.add(a, b, alpha=3.0, out=out)),
        ("torch sum", 1, 1, lambda: torch.sum(a)),
    ):
        name = operation + where
        timed = _with_threads(threads, _repeated(call, repeats))
        candidate = Candidate(f"{name}, {threads} threads", timed)
        work, allocated = named * size * repeats, moved * size * repeats
        yield _Probe(measures, name, threads, work, candidate, allocated, size)


def _repeated(call: Callable[[], object], repeats: int) -> Callable[[], object]:
    def run() -> None:
        for _ in range(repeats):
            call()

    return run


def _runtime_probes(threads: int) -> Iterator[_Probe]:
    rng = np.random.default_rng(0)
    m, k, n = UNROLLED
    for name, operator, x_shape, weight_shape, macs in (
        ("ONNX Runtime product", "MatMul", (CUBE, CUBE), (CUBE, CUBE), CUBE**3),
        ("ONNX Runtime convolution as product", "MatMul", (m, k), (k, n), m * k * n),
        (
            "ONNX Runtime convolution",
            "Conv",
            (1, 64, PICTURE, PICTURE),
            (64, 64, 3, 3),
            (PICTURE - 2) ** 2 * 64 * 64 * 9,
        ),
    ):
        weight = rng.random(weight_shape, np.float32)
        session = _one_operator(operator, x_shape, weight, threads)
        call = _bound(session.run, None, {"x": rng.random(x_shape, np.float32)})
        yield _probe("compute", name, threads, 2 * macs, call)


def _one_operator(operator: str, x_shape: tuple[int, ...], weight: FloatArray, threads: int) -> Any:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(operator, ["x", "w"], ["y"])
    graph = helper.make_graph([node], "probe", [x], [y], [numpy_helper.from_array(weight, "w")])
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # As in the backend, and so that idle threads do not disturb the next candidate.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _probe_row(probe: _Probe) -> Row:
    timed = timing(probe.candidate)
    p50_s, best_s = figure_of(timed, "p50_ms") / 1e3, figure_of(timed, "best_ms") / 1e3
    unit = "gflops" if probe.measures == "compute" else "gb_s"
    row: Row = {
        "kind": "probe",
        "measures": probe.measures,
        "name": probe.name,
        "threads": probe.threads,
        **timed,
        f"p50_{unit}": probe.work / p50_s / 1e9,
        f"best_{unit}": probe.work / best_s / 1e9,
    }
    if probe.array_bytes:
        row["array_mib"] = probe.array_bytes / 2**20
        row["best_with_write_allocate_gb_s"] = probe.allocated / best_s / 1e9
    return row


def _limit_rows(probes: list[Row]) -> list[Row]:
    """For each number of threads the best that any probe of so many or fewer threads reached."""
    limits: list[Row] = []
    for threads in sorted({int(figure_of(row, "threads")) for row in probes}):
        here = [row for row in probes if figure_of(row, "threads") <= threads]
        compute = _best(here, "compute", "best_gflops")
        memory = _best(here, "bandwidth", "best_gb_s")
        if compute is None or memory is None:
            continue
        peak, bandwidth = figure_of(compute, "best_gflops"), figure_of(memory, "best_gb_s")
        limit: Row = {
            "kind": "limit",
            "threads": threads,
            "peak_gflops": peak,
            "peak_by": compute["name"],
            "bandwidth_gb_s": bandwidth,
            "bandwidth_by": memory["name"],
            "ridge_flop_per_byte": peak / bandwidth,
        }
        cache = _best(here, "cache", "best_gb_s")
        limits.append(limit | ({"cache_gb_s": cache["best_gb_s"]} if cache else {}))
    return limits


def _best(rows: list[Row], measures: str, key: str) -> Row | None:
    candidates = [row for row in rows if row["measures"] == measures]
    return max(candidates, key=lambda row: figure_of(row, key), default=None)


def _model_row(item: _Scored, model: str, limit: Row) -> Row:
    timed = timing(item.candidate)
    known: Row = {
        "kind": "model",
        "model": model,
        "size": size_name(*item.hw),
        "threads": item.threads,
        "macs": item.macs,
        "traffic_mb": item.traffic_bytes / 1e6,
        "least_traffic_mb": item.least_bytes / 1e6,
    }
    p50_ms, best_ms = figure_of(timed, "p50_ms"), figure_of(timed, "best_ms")
    peak, bandwidth = figure_of(limit, "peak_gflops"), figure_of(limit, "bandwidth_gb_s")
    return (
        known
        | timed
        | place(2 * item.macs, item.traffic_bytes, p50_ms, peak, bandwidth)
        | {
            "best_gflops": 2 * item.macs / best_ms / 1e6,
            "fused_limit_ms": limit_ms(2 * item.macs, item.least_bytes, peak, bandwidth),
        }
    )


def limit_ms(flops: float, moved_bytes: float, peak_gflops: float, bandwidth_gb_s: float) -> float:
    """Least time in ms: the longer of computing at the peak rate and moving at full bandwidth."""
    return max(flops / peak_gflops, moved_bytes / bandwidth_gb_s) / 1e6


def place(
    flops: float, moved_bytes: float, p50_ms: float, peak_gflops: float, bandwidth_gb_s: float
) -> Row:
    """Where work stands under the roof.

    Args:
        flops: of one call, 2·MACs.
        moved_bytes: read and written by one call, operator by operator.
        p50_ms: median time of a call.
        peak_gflops: 10⁹ FLOPs per second of the machine.
        bandwidth_gb_s: 10⁹ bytes per second.

    Returns:
        Intensity, achieved rate, the rate that the roof allows, shares in percent, and which of
        the two limits binds: "memory" or "compute".
    """
    intensity = flops / moved_bytes
    achieved = flops / p50_ms / 1e6
    allowed = min(peak_gflops, intensity * bandwidth_gb_s)
    return {
        "flop_per_byte": intensity,
        "p50_gflops": achieved,
        "allowed_gflops": allowed,
        "share_of_peak_percent": 100 * achieved / peak_gflops,
        "share_of_bandwidth_percent": 100 * moved_bytes / p50_ms / 1e6 / bandwidth_gb_s,
        "share_of_limit_percent": 100 * achieved / allowed,
        "binds": "compute" if intensity * bandwidth_gb_s >= peak_gflops else "memory",
    }


def render(rows: list[Row]) -> Rendered:
    """Tables and the plot of a result file's rows.

    Raises:
        ValueError: the rows are of another version.
    """
    parts = [_model_table(rows), _limit_table(rows), _probe_table(rows)]
    parts.append("\n".join(missing_lines(rows)))
    markdown = "\n\n".join(part for part in parts if part)
    return Rendered(markdown, {"roofline": _plot(rows)} if _of(rows, "limit") else {})


def _of(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.get("kind") == kind and "missing" not in row]


def _model_table(rows: list[Row]) -> str:
    body = [
        (
            str(row["size"]),
            f"{row['threads']}",
            number(figure_of(row, "p50_ms")),
            number(figure_of(row, "best_ms")),
            f"{row['repeats']}",
            number(figure_of(row, "p50_gflops")),
            number(figure_of(row, "flop_per_byte")),
            f"{figure_of(row, 'share_of_peak_percent'):.0f} %",
            f"{figure_of(row, 'share_of_bandwidth_percent'):.0f} %",
            str(row["binds"]),
            f"{figure_of(row, 'share_of_limit_percent'):.0f} %",
            number(figure_of(row, "fused_limit_ms")),
        )
        for row in _of(rows, "model")
    ]
    head = ["picture", "threads", "p50 ms", "best ms", "calls", "GFLOP/s", "FLOP per byte"]
    head += ("of peak", "of bandwidth", "binds", "of the limit", "least ms if fused")
    return f"{markdown_table(head, body)}\n\n{_MODEL_TEXT}" if body else ""


_MODEL_TEXT = (
    "FLOPs are 2·MACs of the model file; bytes are those of its operators run one after "
    "the other, each reading its inputs and writing its outputs once. The limit is "
    "min(peak, FLOP per byte × bandwidth). More than 100 % of it means that the runtime fuses "
    "operators or that arrays stay in the cache and never reach memory. *Least ms if fused*: "
    "the same FLOPs at the peak rate, moving nothing but frame, weights and outputs."
)


def _limit_table(rows: list[Row]) -> str:
    body = [
        (
            f"{row['threads']}",
            f"{number(figure_of(row, 'peak_gflops'))} ({row['peak_by']})",
            f"{number(figure_of(row, 'bandwidth_gb_s'))} ({row['bandwidth_by']})",
            number(figure_of(row, "cache_gb_s")) if "cache_gb_s" in row else "",
            number(figure_of(row, "ridge_flop_per_byte")),
        )
        for row in _of(rows, "limit")
    ]
    head = ("threads", "peak GFLOP/s, float32", "memory GB/s", "cache GB/s", "ridge, FLOP per byte")
    text = (
        "**This machine's limits**: the best that any probe below reached with so many threads or "
        "fewer.\n\n"
    )
    return text + markdown_table(head, body) if body else ""


def _probe_table(rows: list[Row]) -> str:
    body = [_probe_cells(row) for row in _of(rows, "probe")]
    head = ("probe", "threads", "best", "p50", "unit", "with write-allocate", "array MiB", "calls")
    text = (
        "**Probes.** Bytes are those that the program names: a copy two arrays, a triad three, a "
        "sum one. *With write-allocate* also counts the lines that ordinary stores fetch before "
        "they write; streaming stores do not.\n\n"
    )
    return text + markdown_table(head, body) if body else ""


def _probe_cells(row: Row) -> tuple[str, ...]:
    unit, name = ("gflops", "GFLOP/s") if row["measures"] == "compute" else ("gb_s", "GB/s")
    is_stream = "array_mib" in row
    return (
        str(row["name"]),
        f"{row['threads']}",
        number(figure_of(row, f"best_{unit}")),
        number(figure_of(row, f"p50_{unit}")),
        name,
        number(figure_of(row, "best_with_write_allocate_gb_s")) if is_stream else "",
        number(figure_of(row, "array_mib")) if is_stream else "",
        f"{row['repeats']}",
    )


def _plot(rows: list[Row]) -> Figure:
    figure, axes = one_axes("arithmetic intensity (FLOP per byte of traffic)", "rate (GFLOP/s)")
    axes.set_xscale("log")
    axes.set_yscale("log")
    limits, scored = _of(rows, "limit"), _of(rows, "model")
    intensities = [figure_of(row, "flop_per_byte") for row in scored]
    ridges = [figure_of(row, "ridge_flop_per_byte") for row in limits]
    span = (min(intensities + ridges) / 8, max(intensities + ridges) * 12)
    for colour, limit in zip(COLOURS, limits, strict=False):
        _draw_roof(axes, limit, span, colour)
        mine = [row for row in scored if row["threads"] == limit["threads"]]
        _draw_points(axes, mine, colour)
    _name_points(axes, scored)
    axes.set_xlim(*span)
    axes.set_ylim(bottom=axes.get_ylim()[0] / 2)
    plain_log_ticks(axes.xaxis)
    plain_log_ticks(axes.yaxis)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _draw_roof(axes: Axes, limit: Row, span: tuple[float, float], colour: str) -> None:
    peak, bandwidth = figure_of(limit, "peak_gflops"), figure_of(limit, "bandwidth_gb_s")
    ridge = figure_of(limit, "ridge_flop_per_byte")
    xs = [span[0], ridge, span[1]]
    label = f"{_threads(limit)}: {peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s"
    axes.plot(xs, [span[0] * bandwidth, peak, peak], color=colour, linewidth=2, label=label)
    if "cache_gb_s" in limit:
        cache = figure_of(limit, "cache_gb_s")
        xs, ys = [span[0], peak / cache], [span[0] * cache, peak]
        label = f"{_threads(limit)}: cache, {cache:.0f} GB/s"
        axes.plot(xs, ys, color=colour, linewidth=1, linestyle=":", label=label)


def _draw_points(axes: Axes, scored: list[Row], colour: str) -> None:
    xs = [figure_of(row, "flop_per_byte") for row in scored]
    ys = [figure_of(row, "p50_gflops") for row in scored]
    axes.plot(xs, ys, "o", color=colour, markersize=8, markeredgecolor="white")


def _name_points(axes: Axes, scored: list[Row]) -> None:
    """Names in a column beside the points, apart from each other, each with a line to its point.

    The points of one network stand nearly above each other: its intensity hardly depends on size.
    """
    ordered = sorted(scored, key=lambda row: figure_of(row, "p50_gflops"))
    rates = [figure_of(row, "p50_gflops") for row in ordered]
    if not rates:
        return
    column = 2.2 * max(figure_of(row, "flop_per_byte") for row in ordered)
    lowest = rates[-1] / NAME_STEP ** (len(rates) - 1)
    for index, (row, rate) in enumerate(zip(ordered, rates, strict=True)):
        axes.annotate(
            f"{row['size']}, {_threads(row)}",
            (figure_of(row, "flop_per_byte"), rate),
            (column, lowest * NAME_STEP**index),
            va="center",
            fontsize=9,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            arrowprops={
                "arrowstyle": "-",
                "color": "#999999",
                "linewidth": 0.8,
                "relpos": (0, 0.5),
            },
        )


def _threads(row: Row) -> str:
    return "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
