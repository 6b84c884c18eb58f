"""Latency of a model: every runtime × model × size × number of threads, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.charts import COLOURS, INK, figure_of, missing_lines, one_axes, threads_of
from benchmarks.interleaved import FOLDED, NAIVE, RuntimesSection
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.tables import markdown_table, number
from edge.manifest import Precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.runtimes import HW, Runtime

SIZES = ((256, 256), (1080, 1920), (224, 224), (720, 1280))
SQUARE = (512, 512)
TEACHER = "ladeda9"
INTRODUCTION = (
    "One frame at a time (batch 1), from an array in host memory to a logit there. Every candidate "
    "of a size and number of threads is visited in each round, in an order drawn anew; no sample "
    "is removed. *× naive* is the median over rounds of the time divided by the naive graph's in "
    "the same round, with its 95 % bootstrap interval; below 1 is faster. |Δ logit| is the "
    "difference from torch on the timed frame, of the same weights. On a CPU there is only host "
    "time; on a GPU copy and kernel are timed by device events. ResNet-50 with one output is what "
    "most projects would deploy. It takes 224×224, so that a larger frame loses its traces of "
    "generation in a resize, whose time is not counted; its weights are random."
)
AUTO = "Patchwatch, auto"
BACKENDS: tuple[tuple[str, Precision], ...] = (
    ("onnxruntime", "fp32"),
    *(("openvino", precision) for precision in ("fp32", "fp16", "int8")),
)
PROMISED = (((256, 256), 1.3), ((1080, 1920), 2.0))
"""Size → how many times faster than the naive graph the folded one of the smallest model is."""

PLOTTED = ((256, 256), (384, 683), SQUARE, (1080, 1920))


class LatencySection(RuntimesSection):
    """The smallest model at every size, the default and the teacher at those they are for, and a
    ResNet-50, what most projects would deploy.
    """

    name = "latency"
    title = "Latency of the model"

    def add_all(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """As of `RuntimesSection`; most threads first, as those are what most people ask for."""
        from benchmarks.resnet50 import INPUT_HW
        from benchmarks.runtimes import fresh_subject, resnet_subject, shipped_subject
        from edge.weights import DEFAULT, TINY

        tiny, default = (shipped_subject(name, plan.seed, folder) for name in (TINY, DEFAULT))
        # Of many layers; compiling them would take the time of the measurements.
        quick_to_open = [runtime for runtime in runtimes() if not runtime.slow_to_open]
        for threads in plan.threads[::-1]:
            for hw in SIZES[:2] if plan.quick else SIZES:
                self.add(tiny, hw, threads, runtimes(), tick)
        for threads in plan.threads[-1:] if plan.quick else plan.threads[::-1]:
            for hw in (default.region_hw or SIZES[0], *(() if plan.quick else (SQUARE,))):
                self.add(default, hw, threads, quick_to_open, tick)
        if not plan.quick:
            teacher = fresh_subject(TEACHER, "x_grad", plan.seed, folder)
            resnet = resnet_subject(plan.seed)
            naive = [runtime for runtime in runtimes() if runtime.name in ("torch eager", NAIVE)]
            for threads in plan.threads[::-1]:
                for hw in (SIZES[0], SIZES[2]):
                    self.add(teacher, hw, threads, runtimes(), tick)
                self.add(resnet, INPUT_HW, threads, naive, tick)


def runtimes() -> tuple[Runtime, ...]:
    """What is timed; a further runtime is a further line."""
    from benchmarks.runtimes import Runtime, open_backend, open_compiled, open_eager
    from benchmarks.runtimes import open_engine as engine
    from benchmarks.runtimes import open_session as session

    return (
        Runtime("torch eager", open_eager),
        Runtime("torch.compile", open_compiled, slow_to_open=True),
        Runtime(NAIVE, partial(session, naive=True)),
        Runtime(FOLDED, session),
        Runtime(AUTO, partial(open_backend, name="auto"), as_shipped=True),
        *(
            Runtime(
                f"Patchwatch, {name} {precision}",
                partial(open_backend, name=name, precision=precision),
                as_shipped=True,
            )
            for name, precision in BACKENDS
        ),
        Runtime("ONNX Runtime CUDA, folded graph", partial(session, provider="CUDA")),
        Runtime("ONNX Runtime TensorRT, folded graph", partial(session, provider="Tensorrt")),
        Runtime("TensorRT engine, float32", partial(engine, precision="fp32"), True, True),
        Runtime("TensorRT engine, half precision", partial(engine, precision="fp16"), True, True),
    )


Column = tuple[str, Callable[[Row], str]]


def render(rows: list[Row]) -> Rendered:
    """Markdown and plots of the latency section."""
    measured = [row for row in rows if "missing" not in row]
    parts = [INTRODUCTION, _promises(measured), *tables(measured), "\n".join(missing_lines(rows))]
    # The teacher takes so much longer that bars of a shipped model would vanish.
    drawn = [row for row in measured if row["model"] != TEACHER]
    return Rendered("\n\n".join(filter(None, parts)) + "\n", plots(drawn))


def _promises(rows: Sequence[Row]) -> str:
    """A line for each promise on the folded graph that the rows can judge."""
    lines = []
    for hw, bound in PROMISED:
        for row in rows:
            tiny = "tiny" in str(row["model"]) and row["runtime"] == FOLDED
            if tiny and row["size"] == list(hw) and row["ratio_to_naive"]:
                keys = ("ratio_to_naive", "ratio_to_naive_high", "ratio_to_naive_low")
                ratio, low, high = (1 / figure_of(row, key) for key in keys)
                verdict = "holds" if ratio >= bound else "**does not hold**"
                lines.append(
                    f"- Folded against naive graph at {hw[0]}×{hw[1]}, {threads_of(row)}: "
                    f"{ratio:.2f}× as fast (95 % interval {low:.2f} to {high:.2f}); at least "
                    f"{bound:g}× is promised: {verdict}."
                )
    return "\n".join(lines)


def digits(row: Row, key: str) -> str:
    """Three digits that count, or a dash."""
    value = row.get(key)
    return number(float(value)) if isinstance(value, int | float) else "–"


def _ratio(row: Row) -> str:
    low, high = (digits(row, f"ratio_to_naive_{end}") for end in ("low", "high"))
    return f"{digits(row, 'ratio_to_naive')} ({low} to {high})" if row["ratio_to_naive"] else "–"


def _device(row: Row) -> str:
    if row["timed"] == "host":
        return "host only"
    return " + ".join(digits(row, f"{part}_p50_ms") for part in ("copy", "kernel"))


def _difference(row: Row) -> str:
    value = row.get("max_abs_logit_difference")
    return f"{value:.1e}" if isinstance(value, float) else "–"


COLUMNS: tuple[Column, ...] = (
    ("runtime", lambda row: str(row["runtime"]) + (f" → {row['chose']}" if "chose" in row else "")),
    ("model", lambda row: str(row["model"])),
    ("threads", lambda row: str(row["threads"])),
    *((f"{name}, ms", partial(digits, key=f"{name}_ms")) for name in ("p50", "p90", "p95", "p99")),
    ("max, ms", partial(digits, key="max_ms")),
    ("samples", lambda row: str(row.get("repeats", row.get("samples")))),
    ("× naive", _ratio),
    ("|Δ logit|", _difference),
    ("AUC", partial(digits, key="validation_auc")),
    ("copy + kernel, ms", _device),
)


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """A table for each size."""
    for size in sorted({tuple(cast(Any, row["size"])) for row in rows}):
        body = [[show(r) for _, show in COLUMNS] for r in rows if r["size"] == list(size)]
        yield f"**{size[0]}×{size[1]}**\n\n{markdown_table([name for name, _ in COLUMNS], body)}"


def plots(rows: Sequence[Row]) -> dict[str, Figure]:
    """Bars of each size of `PLOTTED` that was measured."""
    chosen = {hw: [row for row in rows if row["size"] == list(hw)] for hw in PLOTTED}
    return {f"latency_{hw[0]}x{hw[1]}": bars(found, hw) for hw, found in chosen.items() if found}


def bars(rows: Sequence[Row], hw: HW) -> Figure:
    """Horizontal bars of p50 with whiskers to p95, a colour for each number of threads."""
    counts = sorted({int(figure_of(row, "threads")) for row in rows})
    labels = list(dict.fromkeys(f"{row['model']}\n{row['runtime']}" for row in rows))
    figure, axes = one_axes(
        f"time of one frame of {hw[0]}×{hw[1]}: p50, whisker to p95 (ms)",
        "",
        1.3 + len(labels) * (0.2 + 0.25 * len(counts)),
    )
    # Where whiskers end at the latest: one long one must not flatten all bars.
    limit = 1.5 * max(figure_of(row, "p50_ms") for row in rows)
    for index, count in enumerate(counts):
        for row in (row for row in rows if row["threads"] == count):
            shift = (index - (len(counts) - 1) / 2) * 0.8 / len(counts)
            place = labels.index(f"{row['model']}\n{row['runtime']}") + shift
            p50, p95 = figure_of(row, "p50_ms"), figure_of(row, "p95_ms")
            whisker: Any = [[0.0], [max(0.0, min(p95, limit) - p50)]]
            axes.barh(place, p50, 0.72 / len(counts), color=COLOURS[index], xerr=whisker)
            text = f"  {number(p50)} ms" + (f" (p95 {number(p95)} ms)" if p95 > limit else "")
            axes.text(min(p95, limit), place, text, va="center", fontsize=9, color=INK)
        axes.barh(0, 0, color=COLOURS[index], label=threads_of({"threads": count}))
    axes.set_xlim(0, 1.2 * limit)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower right")
    return figure
