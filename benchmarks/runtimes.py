"""The models that are timed, each in all its forms, and the runtimes that run them.

All forms have the same weights, so that their logits can be compared. They are drawn at random, as
time does not depend on them; what `patchwatch run` uses is timed with the shipped file.
"""

from __future__ import annotations

import atexit
import importlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime
import torch
from torch import nn

from benchmarks.resnet50 import INPUT_HW, ResNet50Detector
from edge import backends
from edge.errors import GpuError, MissingDependency, ModelError, UsageError
from edge.manifest import Precision, Training, read_manifest
from edge.tensorrt.record import Shape
from edge.types import Batch
from edge.weights import find_model
from export.compare import textured
from export.engine.command import shape_of
from export.engine.process import build_engine
from export.fold import Unfolded
from export.graph import INPUT, LOGIT, to_onnx
from export.model_file import graph_of
from training.checkpoint import Card
from training.models import build

HW = tuple[int, int]
"""Height and width in pixels."""


class AbsentRuntime(Exception):
    """A runtime that this machine does not have; the message is for the row's `missing`."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One model in its forms.

    Attributes:
        name: as tables show it.
        module: nothing folded; uint8 [N, H, W, 3] BGR → (logit [N], perhaps the patch logits).
        naive_graph: `module` as ONNX.
        folded: the folded graph with its manifest, in a file; None where there is none.
        shipped: the file that `patchwatch run` uses; None of a model that is not shipped.
        auc: of the shipped file on untouched pictures, 0..1; None where it says nothing.
        region_hw: what the shipped file's region gives it of a large frame; None for all of it.
    """

    name: str
    module: nn.Module
    naive_graph: bytes
    folded: Path | None = None
    shipped: Path | None = None
    auc: float | None = None
    region_hw: HW | None = None
    _logits: dict[HW, float] = field(default_factory=dict)

    def reference_logit(self, hw: HW) -> float:
        """The logit in torch of the textured frame of a size; worked out once."""
        if hw not in self._logits:
            with torch.inference_mode():
                found = self.module(torch.from_numpy(textured((1, *hw))))
            # torch's own float32 mean over a large map would be the less exact of the two compared.
            self._logits[hw] = float(found[1].double().mean() if len(found) > 1 else found[0][0])
        return self._logits[hw]


def shipped_subject(name: str, seed: int, folder: Path) -> Subject:
    """A shipped model; weights of its unfolded forms are drawn from `seed`."""
    path = find_model(name)
    manifest = read_manifest(path)
    made = fresh_subject(manifest.architecture, manifest.preprocessing, seed, folder)
    shape = None if manifest.region == "native" else shape_of(manifest, None)
    untouched = (f.value for f in manifest.validation if f.degradation == "untouched")
    return Subject(
        manifest.name,
        made.module,
        made.naive_graph,
        made.folded,
        path,
        next(untouched, None),
        None if shape is None else (shape.height, shape.width),
    )


def fresh_subject(architecture: str, preprocessing: str, seed: int, folder: Path) -> Subject:
    """A model with weights drawn from `seed`; its folded file is written into `folder`."""
    torch.manual_seed(seed)
    model = build(architecture, preprocessing)
    settle_batch_norms(model)
    card = Card(
        name=architecture,
        architecture=architecture,
        preprocessing=model.preprocessing,
        training=Training(data="none: random weights, to be timed only"),
        licence="none",
    )
    path = folder / f"{architecture}.onnx"
    path.write_bytes(graph_of(model, card, path.name).SerializeToString())
    module = Unfolded(model).eval()
    return Subject(architecture, module, naive_graph(module), path)


def resnet_subject(seed: int) -> Subject:
    """A ResNet-50 detector with weights drawn from `seed`; its graph takes `INPUT_HW` alone."""
    torch.manual_seed(seed)
    module = ResNet50Detector()
    settle_batch_norms(module.network)
    module.eval()
    return Subject("ResNet-50", module, naive_graph(module, (1, *INPUT_HW)))


def naive_graph(module: nn.Module, static: tuple[int, int, int] | None = None) -> bytes:
    """A module as ONNX, bytes of the file."""
    graph: bytes = to_onnx(module, static, patches=static is None).SerializeToString()
    return graph


def settle_batch_norms(model: nn.Module) -> None:
    """Give batch norms the figures of a picture, so that logits are of a trained model's size."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    picture = torch.from_numpy(textured((2, 96, 96))).permute(0, 3, 1, 2) / 128 - 1
    with torch.no_grad():
        model.train()(picture)
    model.eval()


@dataclass(frozen=True, slots=True)
class Runner:
    """A model that is ready in one runtime, at one size, with one number of threads.

    `run` scores one frame, uint8 [1, H, W, 3] BGR, from host memory to a logit there; `prepare` is
    not timed; `device_ms` has `copy` and `kernel` of the device's own events, nothing on a CPU;
    `chose` says what was chosen, where something was.
    """

    run: Callable[[Batch], float]
    prepare: Callable[[], object] = lambda: None
    device_ms: Callable[[], Mapping[str, float]] = lambda: MappingProxyType({})
    chose: str | None = None


Open = Callable[[Subject, HW, int], Runner]
"""Subject, height and width, threads → a runner. Raises AbsentRuntime."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that may be timed, by the name that tables show.

    One that is `slow_to_open` compiles for each size, and is left out where that would cost too
    much time; one that runs the file `as_shipped` gives another logit.
    """

    name: str
    open: Open
    slow_to_open: bool = False
    as_shipped: bool = False


def _set_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _torch_runner(module: Callable[..., Any], threads: int) -> Runner:
    def run(frames: Batch) -> float:
        with torch.no_grad():
            return float(module(torch.from_numpy(frames))[0][0])

    return Runner(run, partial(_set_threads, threads))


def open_eager(subject: Subject, hw: HW, threads: int) -> Runner:
    """The module called from Python, as published code does."""
    return _torch_runner(subject.module, threads)


def open_compiled(subject: Subject, hw: HW, threads: int) -> Runner:
    """The module through torch.compile, for this size alone; compiles before it returns."""
    before = torch.get_num_threads()
    try:
        # Dynamo takes seconds to import. One kernel for each size and number of threads is more
        # than it keeps by default.
        dynamo: Any = importlib.import_module("torch._dynamo.config")
        dynamo.recompile_limit = 64
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner = _torch_runner(torch.compile(subject.module, dynamic=False), threads)
            runner.prepare()
            runner.run(textured((1, *hw)))
    except Exception as error:  # each stage of the compiler raises errors of its own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise AbsentRuntime(f"torch.compile failed ({first}). It needs a C++ compiler.") from error
    finally:
        torch.set_num_threads(before)
    return runner


def open_session(
    subject: Subject, hw: HW, threads: int, *, naive: bool = False, provider: str = "CPU"
) -> Runner:
    """The naive or the folded graph in a session of ONNX Runtime, on one of its providers."""
    provider = f"{provider}ExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise AbsentRuntime(
            f"this ONNX Runtime has no {provider}. "
            "It takes an NVIDIA GPU and: pip install onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # As in the backend. Threads that spin would also take the cores from whoever is next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = subject.naive_graph if naive else str(folded_file(subject))
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    return Runner(lambda frames: float(session.run([LOGIT], {INPUT: frames})[0][0]))


def open_backend(
    subject: Subject, hw: HW, threads: int, *, name: str, precision: Precision | None = None
) -> Runner:
    """A backend of `patchwatch run` on the file that it uses; for auto, with what it chose."""
    choice = backends.BackendChoice(name, precision=precision, threads=threads)
    path = subject.shipped or folded_file(subject)
    try:
        backend: Any = backends.open_backend(path, choice=choice)
        backend.warm_up(*hw)
    except (MissingDependency, ModelError, UsageError) as error:
        raise _absent(path, error) from error
    chose = f"{backend.name}, {getattr(backend, 'precision', 'fp32')}" if name == "auto" else None
    return Runner(lambda frames: float(backend.infer(frames)[0].logit), chose=chose)


def open_engine(subject: Subject, hw: HW, threads: int, *, precision: Precision) -> Runner:
    """A TensorRT engine in the backend of `patchwatch run`, built here if there is none yet.

    The device's parts are medians of a measurement of its own, as the backend's stream is not
    interrupted for events.
    """
    choice = backends.BackendChoice("tensorrt", precision=precision, build=build_engine)
    path = subject.shipped or folded_file(subject)
    try:
        with ExitStack() as stack:
            backend: Any = stack.enter_context(backends.open_backend(path, choice=choice))
            backend.warm_up(*hw)
            spans = backend.spans(Shape(batch=1, height=hw[0], width=hw[1]))
            atexit.register(stack.pop_all().close)  # runners live as long as the benchmark
    except (MissingDependency, GpuError, ModelError) as error:
        raise _absent(path, error) from error
    parts = {"copy": spans.copy_in + spans.copy_out, "kernel": spans.compute}
    return Runner(lambda frames: float(backend.infer(frames)[0].logit), device_ms=lambda: parts)


def _absent(path: Path, error: Exception) -> AbsentRuntime:
    """Why a model file does not run here; a result says nothing of its maker's folders."""
    return AbsentRuntime(str(error).replace(f"{path.parent}/", ""))


def folded_file(subject: Subject) -> Path:
    """The subject's folded file.
    Raises AbsentRuntime: it has none.
    """
    if subject.folded is None:
        raise AbsentRuntime(f"{subject.name} has no folded form.")
    return subject.folded
