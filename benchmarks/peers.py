"""The smallest shipped model beside what else could be deployed, in the same rounds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.latency.interleaved import Interleaved, passes
from benchmarks.latency.names import FOLDED, NAIVE
from benchmarks.latency.report import number_in
from benchmarks.latency.rounds import Group
from benchmarks.latency.runners import (
    AbsentRuntime,
    HostRunner,
    Runner,
    Runtime,
    folded_file,
    library,
    open_eager,
    open_folded,
    open_naive,
)
from benchmarks.latency.subjects import HW, Subject, settle_batch_norms, shipped_subject
from benchmarks.ncnn_graph import INPUT_BLOB, OUTPUT_BLOB, NotConvertible, write_ncnn
from benchmarks.peers_report import SIZES
from benchmarks.resnet50 import INPUT_HW, ResNet50Detector
from benchmarks.section import Plan, Row, Tick
from edge.types import Batch
from edge.weights import TINY, find_model
from export.graph import INPUT, to_onnx

QUICK_SIZES: tuple[HW, ...] = SIZES[:2]
RESNET = "ResNet-50"


class PeersSection(Interleaved):
    """Times the smallest shipped model in other runtimes, and a ResNet-50."""

    name = "peers"
    title = "Beside what else could be deployed"

    def steps(self, plan: Plan) -> int:
        """One for each runtime that is opened, and one for each visit of a group."""
        sizes = len(_sizes(plan))
        opened = sizes * len(RUNTIMES) + len(RESNET_RUNTIMES)
        return len(_threads(plan)) * (opened + sizes * passes(plan))

    def open(self, plan: Plan, folder: Path, tick: Tick) -> None:
        """See `Interleaved.open`."""
        tiny = shipped_subject(find_model(TINY))
        resnet = resnet_subject(plan.seed)
        for threads in _threads(plan):
            for hw in _sizes(plan):
                self.add(tiny, hw, threads, RUNTIMES, tick)
            self.add(resnet, INPUT_HW, threads, RESNET_RUNTIMES, tick)

    def joins(self, group: Group, subject: Subject) -> bool:
        """All models of one size are compared with each other."""
        return True

    def rows(self) -> list[Row]:
        """The rows of the rounds, with the rate that each p50 would allow."""
        return [with_rate(row) for row in super().rows()]


def _sizes(plan: Plan) -> tuple[HW, ...]:
    return QUICK_SIZES if plan.quick else SIZES


def _threads(plan: Plan) -> tuple[int, ...]:
    """From most to fewest; a quick run has time for the most alone."""
    return plan.threads[-1:] if plan.quick else plan.threads[::-1]


def with_rate(row: Row) -> Row:
    """A row with `frames_per_s_at_p50`, where it has a p50."""
    p50_ms = number_in(row, "p50_ms")
    return row if p50_ms is None else {**row, "frames_per_s_at_p50": 1e3 / p50_ms}


def resnet_subject(seed: int) -> Subject:
    """A ResNet-50 detector with weights drawn from `seed`; its graph takes 224×224 alone."""
    torch.manual_seed(seed)
    module = ResNet50Detector()
    settle_batch_norms(module.network)
    module.eval()
    graph = to_onnx(module, static=(1, *INPUT_HW)).SerializeToString()
    return Subject(RESNET, module, graph, None, None)


class OpenVinoRunner(HostRunner):
    """A graph compiled by OpenVINO for the CPU, at one size, for the least latency.

    Args:
        model: path or bytes of an ONNX graph.
        hw: the size it is compiled for.
        threads: inside an operator.
        precision: "f32" as everywhere else; None lets OpenVINO choose.

    Raises:
        AbsentRuntime: OpenVINO is absent or refuses the graph, or would choose float32 itself.
    """

    def __init__(self, model: str | bytes, hw: HW, threads: int, precision: str | None) -> None:
        openvino = library("openvino", "pip install openvino")
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        if precision is not None:
            config["INFERENCE_PRECISION_HINT"] = precision
        core = openvino.Core()
        try:
            graph = core.read_model(model)
            graph.reshape({INPUT: [1, *hw, 3]})
            compiled = core.compile_model(graph, "CPU", config)
        except RuntimeError as error:
            raise AbsentRuntime(f"OpenVINO refuses the graph ({_last_line(error)}).") from error
        if precision is None:
            _refuse_float32(compiled)
        self._request: Any = compiled.create_infer_request()

    def run(self, frames: Batch) -> float:
        """See `Runner.run`."""
        return float(self._request.infer({INPUT: frames})[0][0])


class NcnnRunner(HostRunner):
    """The folded model in ncnn, in float32, with pixels taken in by ncnn's own conversion.

    Raises:
        AbsentRuntime: ncnn is absent, or the graph is not a chain that `write_ncnn` knows.
    """

    def __init__(self, path: Path, threads: int, folder: Path) -> None:
        self._ncnn = library("ncnn", "pip install ncnn")
        param, weights = folder / "model.param", folder / "model.bin"
        try:
            write_ncnn(onnx.load_model(str(path)), param, weights)
        except NotConvertible as error:
            raise AbsentRuntime(str(error)) from error
        self._net: Any = self._ncnn.Net()
        self._net.opt.num_threads = threads
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(self._net.opt, option, False)
        if self._net.load_param(str(param)) or self._net.load_model(str(weights)):
            raise AbsentRuntime("ncnn refuses the converted model.")

    def run(self, frames: Batch) -> float:
        """See `Runner.run`."""
        height, width = frames.shape[1:3]
        pixels = self._ncnn.Mat.PixelType.PIXEL_BGR
        extractor = self._net.create_extractor()
        extractor.input(INPUT_BLOB, self._ncnn.Mat.from_pixels(frames[0], pixels, width, height))
        patches = extractor.extract(OUTPUT_BLOB)[1]
        return float(np.asarray(patches).mean(dtype=np.float64))


def open_openvino(
    model: Callable[[Subject], str | bytes],
    precision: str | None,
    subject: Subject,
    hw: HW,
    threads: int,
) -> Runner:
    """A subject's graph, chosen by `model`, in OpenVINO."""
    return OpenVinoRunner(model(subject), hw, threads, precision)


def open_ncnn(subject: Subject, hw: HW, threads: int) -> Runner:
    """A subject's folded file in ncnn."""
    with tempfile.TemporaryDirectory() as folder:
        return NcnnRunner(folded_file(subject), threads, Path(folder))


def _folded(subject: Subject) -> str:
    return str(folded_file(subject))


def _naive(subject: Subject) -> bytes:
    return subject.naive_graph


def _refuse_float32(compiled: Any) -> None:
    if compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32":
        raise AbsentRuntime("OpenVINO chooses float32 on this processor, as in the row above it.")


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:160]


RUNTIMES: tuple[Runtime, ...] = (
    Runtime("torch eager", open_eager),
    Runtime(NAIVE, open_naive),
    Runtime(FOLDED, open_folded),
    Runtime("OpenVINO, naive graph", partial(open_openvino, _naive, "f32")),
    Runtime("OpenVINO, folded graph", partial(open_openvino, _folded, "f32")),
    Runtime("OpenVINO, folded graph, its own precision", partial(open_openvino, _folded, None)),
    Runtime("ncnn, folded graph", open_ncnn),
)
"""What the smallest shipped model is timed in."""

RESNET_RUNTIMES: tuple[Runtime, ...] = (
    Runtime("ONNX Runtime", open_naive),
    Runtime("OpenVINO", partial(open_openvino, _naive, "f32")),
)
