"""The smallest shipped model beside what else could be deployed, in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.charts import missing_lines
from benchmarks.interleaved import FOLDED, NAIVE, PASSES, QUICK_PASSES, RuntimesSection, Timed
from benchmarks.latency import COLUMNS, Column, digits, plots, tables
from benchmarks.section import Plan, Rendered, Row, Tick

if TYPE_CHECKING:
    from benchmarks.runtimes import HW, Runner, Runtime, Subject

SIZES = ((224, 224), (256, 256), (1080, 1920))
INTRODUCTION = (
    "Measured as the latency above: one frame at a time, interleaved, no sample removed. The naive "
    "graph is the published network with nothing folded; *× naive* compares with it in ONNX "
    "Runtime at the same size and number of threads, for ResNet-50 too. ResNet-50 with one output "
    "is what most projects would deploy. It takes 224×224, so that a larger frame loses its "
    "traces of generation in a resize, whose time is not counted here. Its weights are random, as "
    "time does not depend on them. *Frames/s* is what p50 would allow with nothing else to do."
)


class PeersSection(RuntimesSection):
    """Times the smallest shipped model in other runtimes, and a ResNet-50."""

    name = "peers"
    title = "Beside what else could be deployed"

    def steps(self, plan: Plan) -> int:
        """One for each runtime that is opened, and one for each visit of a group."""
        sizes, threads = (2, 1) if plan.quick else (len(SIZES), len(plan.threads))
        return threads * (5 * sizes + 2 + sizes * (QUICK_PASSES if plan.quick else PASSES))

    def add_all(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """As of `RuntimesSection`; a quick run has time for the most threads alone."""
        from benchmarks.resnet50 import INPUT_HW
        from benchmarks.runtimes import Runtime, open_eager, open_session, shipped_subject
        from edge.weights import TINY

        tiny, resnet = shipped_subject(TINY, plan.seed, folder), resnet_subject(plan.seed)
        naive = partial(open_session, naive=True)
        ours: tuple[Runtime, ...] = (
            Runtime("torch eager", open_eager),
            Runtime(NAIVE, naive),
            Runtime(FOLDED, open_session),
            Runtime("OpenVINO, naive graph", partial(open_openvino, naive=True)),
            Runtime("OpenVINO, folded graph", open_openvino),
        )
        theirs = (
            Runtime("ONNX Runtime", naive),
            Runtime("OpenVINO", partial(open_openvino, naive=True)),
        )
        for threads in plan.threads[-1:] if plan.quick else plan.threads[::-1]:
            for hw in SIZES[:2] if plan.quick else SIZES:
                self.add(tiny, hw, threads, ours, tick)
            self.add(resnet, INPUT_HW, threads, theirs, tick)

    def joins(self, timed: Sequence[Timed], subject: Subject) -> bool:
        """All models of one size are compared with each other."""
        return True

    def rows(self) -> list[Row]:
        """The rows of the rounds, with the rate that each p50 would allow."""
        return [with_rate(row) for row in super().rows()]


def with_rate(row: Row) -> Row:
    """A row with `frames_per_s_at_p50`, where it has a p50."""
    p50_ms = row.get("p50_ms")
    return row | {"frames_per_s_at_p50": 1e3 / p50_ms} if isinstance(p50_ms, float) else row


def resnet_subject(seed: int) -> Subject:
    """A ResNet-50 detector with weights drawn from `seed`; its graph takes 224×224 alone."""
    import torch

    from benchmarks.resnet50 import INPUT_HW, ResNet50Detector
    from benchmarks.runtimes import Subject, naive_graph, settle_batch_norms

    torch.manual_seed(seed)
    module = ResNet50Detector()
    settle_batch_norms(module.network)
    module.eval()
    return Subject("ResNet-50", module, naive_graph(module, (1, *INPUT_HW)))


def open_openvino(subject: Subject, hw: HW, threads: int, *, naive: bool = False) -> Runner:
    """A subject's graph compiled by OpenVINO for the CPU, at one size, for the least latency.
    Raises AbsentRuntime: OpenVINO is absent or refuses the graph.
    """
    from benchmarks.runtimes import AbsentRuntime, Runner, folded_file, library
    from export.graph import INPUT

    openvino = library("openvino", "pip install openvino")
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "f32",  # as everywhere else
    }
    core = openvino.Core()
    try:
        graph = core.read_model(subject.naive_graph if naive else str(folded_file(subject)))
        graph.reshape({INPUT: [1, *hw, 3]})
        request: Any = core.compile_model(graph, "CPU", config).create_infer_request()
    except RuntimeError as error:
        last = (str(error).strip().splitlines() or [""])[-1].strip()[:160]
        raise AbsentRuntime(f"OpenVINO refuses the graph ({last}).") from error
    return Runner(lambda frames: float(request.infer({INPUT: frames})[0][0]))


_RATE: Callable[[Row], str] = partial(digits, key="frames_per_s_at_p50")
PEER_COLUMNS: tuple[Column, ...] = (*COLUMNS[:-1], ("frames/s", _RATE))


def render(rows: list[Row]) -> Rendered:
    """Markdown and plots of the peers section."""
    measured = [row for row in rows if "missing" not in row]
    parts = [INTRODUCTION, *tables(measured, PEER_COLUMNS), "\n".join(missing_lines(rows))]
    return Rendered("\n\n".join(filter(None, parts)) + "\n", plots(measured, "peers"))
