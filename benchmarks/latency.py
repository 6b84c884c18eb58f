"""Latency of a model: every runtime × model × size × number of threads, one frame at a time."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.charts import COLOURS, INK, figure_of, missing_lines, one_axes, threads_of
from benchmarks.rounds import Candidate, ratio_of_rounds, run_rounds, timing
from benchmarks.section import Plan, Rendered, Row, Tick
from benchmarks.tables import markdown_table, number
from edge.manifest import Precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.runtimes import HW, Runner, Runtime, Subject

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
NAIVE, FOLDED = "ONNX Runtime, naive graph", "ONNX Runtime, folded graph"
AUTO = "Patchwatch, auto"
PASSES, QUICK_PASSES = 5, 1
COMPILING_SHARE = 0.35
"""Of the section's time; once it is over nothing more is compiled."""

BACKENDS: tuple[tuple[str, Precision], ...] = (
    ("onnxruntime", "fp32"),
    *(("openvino", precision) for precision in ("fp32", "fp16", "int8")),
)
PROMISED = (((256, 256), 1.3), ((1080, 1920), 2.0))
"""Size → how many times faster than the naive graph the folded one of the smallest model is."""

PLOTTED = ((256, 256), (384, 683), SQUARE, (1080, 1920))


@dataclass(slots=True, eq=False)
class Timed:
    """One subject in one runtime."""

    runtime: str
    subject: Subject
    runner: Runner
    logit_difference: float | None
    candidate: Candidate


@dataclass(slots=True, eq=False)
class Group:
    """What is compared with each other: one size and one number of threads."""

    hw: HW
    threads: int
    timed: list[Timed] = field(default_factory=list)

    def rows(self, seed: int) -> Iterator[Row]:
        base = next((t.candidate for t in self.timed if t.runtime == NAIVE), None)
        for each in self.timed:
            if each.candidate.calls_s:
                yield self._row(each, base.rounds_s if base else {}, seed)

    def _row(self, each: Timed, base_s: dict[int, float], seed: int) -> Row:
        ratio, low, high = ratio_of_rounds(each.candidate.rounds_s, base_s, seed)
        device = each.runner.device_ms()
        return {
            "runtime": each.runtime,
            "model": each.subject.name,
            "size": list(self.hw),
            "threads": self.threads,
            **timing(each.candidate),
            "ratio_to_naive": ratio,
            "ratio_to_naive_low": low,
            "ratio_to_naive_high": high,
            "timed": "host, copy, kernel" if device else "host",
            "copy_p50_ms": device.get("copy"),
            "kernel_p50_ms": device.get("kernel"),
            "max_abs_logit_difference": each.logit_difference,
            "validation_auc": each.subject.auc,
            **({"chose": each.runner.chose} if each.runner.chose else {}),
        }


class LatencySection:
    """The smallest model at every size, the default and the teacher at those they are for, and a
    ResNet-50, what most projects would deploy.
    """

    name = "latency"
    title = "Latency of the model"

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._missing: list[Row] = []
        self._seed = 0
        self._compile_until = 0.0

    def add_all(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """Open all candidates through `add`; the folder is gone after the section. Most threads
        first, as those are what most people ask for.
        """
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

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Open all, then interleave; torch's number of threads is put back.
        Raises ModelError: a shipped model is absent.
        """
        import torch

        start, before = time.perf_counter(), torch.get_num_threads()
        budget_s = plan.budget_s[self.name]
        self._seed = plan.seed
        self._compile_until = 0.0 if plan.quick else start + COMPILING_SHARE * budget_s
        try:
            with tempfile.TemporaryDirectory() as folder:
                self.add_all(plan, Path(folder), tick)
                self._visit(plan, start + budget_s, tick)
        finally:
            torch.set_num_threads(before)

    def _visit(self, plan: Plan, deadline: float, tick: Tick) -> None:
        """Come back to every group in each pass, for an even share of the time that is left."""
        order = random.Random(plan.seed)
        visits = [g for g in self._groups if g.timed] * (QUICK_PASSES if plan.quick else PASSES)
        for index, group in enumerate(visits):
            now = time.perf_counter()
            until = now + (deadline - now) / (len(visits) - index)
            run_rounds([each.candidate for each in group.timed], until, tick, order)

    def rows(self) -> list[Row]:
        """What was measured, by group, and then what could not be."""
        return [row for group in self._groups for row in group.rows(self._seed)] + self._missing

    def add(
        self, subject: Subject, hw: HW, threads: int, runtimes: Sequence[Runtime], tick: Tick
    ) -> None:
        """Open a subject in runtimes; those that are absent become rows that say why."""
        import torch

        from benchmarks.runtimes import AbsentRuntime

        torch.set_num_threads(threads)
        group = Group(hw, threads)
        self._groups.append(group)
        for runtime in runtimes:
            try:
                if runtime.slow_to_open and time.perf_counter() > self._compile_until:
                    raise AbsentRuntime(
                        f"{runtime.name}: left out, as compiling would have taken the time of the "
                        "measurements; a run that is not quick, or has more time, measures it."
                    )
                group.timed.append(_opened(runtime, subject, hw, threads))
            except AbsentRuntime as error:
                named: Row = {"runtime": runtime.name, "model": subject.name, "size": list(hw)}
                self._missing.append({**named, "threads": threads, "missing": str(error)})
            tick(f"{runtime.name} is ready")


def _opened(runtime: Runtime, subject: Subject, hw: HW, threads: int) -> Timed:
    from export.compare import textured

    frames = textured((1, *hw))
    runner = runtime.open(subject, hw, threads)
    runner.prepare()
    logit = runner.run(frames)
    difference = None if runtime.as_shipped else abs(logit - subject.reference_logit(hw))
    candidate = Candidate(
        f"{hw[0]}×{hw[1]}, threads: {threads}", partial(runner.run, frames), 4, runner.prepare
    )
    return Timed(runtime.name, subject, runner, difference, candidate)


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
