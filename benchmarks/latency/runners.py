"""One small class for each runtime: hold a model ready, and score one frame when told to."""

from __future__ import annotations

import atexit
import importlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import onnxruntime
import torch
from torch import nn

from benchmarks.latency.names import FOLDED, NAIVE
from benchmarks.latency.subjects import HW, Subject
from edge import backends
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import GpuError, MissingDependency, ModelError
from edge.manifest import Precision
from edge.tensorrt.record import Shape
from edge.types import Batch
from export.engine.process import build_engine
from export.graph import INPUT, LOGIT, PATCH_LOGITS

HOST_ONLY: Mapping[str, float] = MappingProxyType({})


class AbsentRuntime(Exception):
    """A runtime that this machine does not have; the message is for the row's `missing`."""


class Runner(Protocol):
    """A model that is ready in one runtime, at one size, with one number of threads."""

    def prepare(self) -> None:
        """Settings of the whole process that a run needs; not timed."""
        ...

    def run(self, frames: Batch) -> float:
        """Score one frame, uint8 [1, H, W, 3] BGR in host memory; its logit on the host again."""
        ...

    def device_ms(self) -> Mapping[str, float]:
        """`copy` and `kernel` of the last run by the device's own events; empty on a CPU."""
        ...


Open = Callable[[Subject, HW, int], Runner]
"""Subject, height and width, threads → a runner. Raises AbsentRuntime."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that may be timed.

    Attributes:
        name: as tables show it.
        open: makes its runner.
        slow_to_open: it compiles for each size; left out where that would cost too much time.
    """

    name: str
    open: Open
    slow_to_open: bool = False


def library(name: str, install: str) -> Any:
    """Import an optional library.

    Raises:
        AbsentRuntime: it cannot be imported; names the command.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library says of its own age is not ours to fix
            return importlib.import_module(name)
    except ImportError as error:
        raise AbsentRuntime(f"{name} is not installed. Run: {install}") from error


class HostRunner:
    """What runs on the host alone has no settings and no events."""

    def prepare(self) -> None:
        """Nothing to set."""

    def device_ms(self) -> Mapping[str, float]:
        """Empty: there is no device."""
        return HOST_ONLY


class TorchRunner(HostRunner):
    """A module called from Python, as published code does."""

    def __init__(self, module: Callable[..., Any], threads: int) -> None:
        self._module = module
        self._threads = threads

    def prepare(self) -> None:
        """Threads are a setting of the whole process."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def run(self, frames: Batch) -> float:
        """See `Runner.run`."""
        with torch.no_grad():
            return float(self._module(torch.from_numpy(frames))[0][0])


class CudaRunner(HostRunner):
    """A module on an NVIDIA GPU; copy and kernels are timed by events on its stream."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        event: Any = torch.cuda.Event  # torch leaves it untyped
        self._events = [event(enable_timing=True) for _ in range(3)]

    def run(self, frames: Batch) -> float:
        """See `Runner.run`; returns when the device has finished."""
        before, copied, done = self._events
        with torch.no_grad():
            before.record()
            x = torch.from_numpy(frames).to("cuda")
            copied.record()
            logit = self._module(x)[0]
            done.record()
            return float(logit[0])

    def device_ms(self) -> Mapping[str, float]:
        """Host to device as `copy`, and all kernels as `kernel`, in ms."""
        before, copied, done = self._events
        done.synchronize()
        return {"copy": before.elapsed_time(copied), "kernel": copied.elapsed_time(done)}


class SessionRunner(HostRunner):
    """An ONNX Runtime session alone."""

    def __init__(self, model: str | bytes, threads: int, provider: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        # As in the backend. Threads that spin would also take the cores from whoever is next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        if provider not in self._session.get_providers():
            raise AbsentRuntime(
                f"ONNX Runtime could not start its {provider}. Check its CUDA libraries."
            )

    def run(self, frames: Batch) -> float:
        """See `Runner.run`."""
        return float(self._session.run([LOGIT, PATCH_LOGITS], {INPUT: frames})[0][0])


class BackendRunner(HostRunner):
    """The backend that `patchwatch run` uses, on a model file."""

    def __init__(self, path: Path, threads: int) -> None:
        self._backend = OnnxRuntimeBackend(path, threads)

    def run(self, frames: Batch) -> float:
        """See `Runner.run`."""
        return self._backend.infer(frames)[0].logit


class EngineRunner(HostRunner):
    """A TensorRT engine in the backend of `patchwatch run`; the device's parts are medians of a
    measurement of its own, as the backend's stream is not interrupted for events."""

    def __init__(self, path: Path, precision: Precision, hw: HW) -> None:
        choice = backends.BackendChoice("tensorrt", precision=precision, build=build_engine)
        with ExitStack() as stack:
            backend: Any = stack.enter_context(backends.open_backend(path, choice=choice))
            backend.warm_up(*hw)
            self._spans = backend.spans(Shape(batch=1, height=hw[0], width=hw[1]))
            # Runners live as long as the benchmark.
            self.close = stack.pop_all().close
        self._backend = backend
        atexit.register(self.close)

    def run(self, frames: Batch) -> float:
        """See `Runner.run`."""
        return float(self._backend.infer(frames)[0].logit)

    def device_ms(self) -> Mapping[str, float]:
        """Both copies as `copy`, the engine as `kernel`, in ms."""
        spans = self._spans
        return {"copy": spans.copy_in + spans.copy_out, "kernel": spans.compute}


def open_eager(subject: Subject, hw: HW, threads: int) -> Runner:
    """The module as it stands."""
    return TorchRunner(subject.module, threads)


def open_compiled(subject: Subject, hw: HW, threads: int) -> Runner:
    """The module through torch.compile, for this size alone; compiles before it returns."""
    # Dynamo and inductor hold settings, and take seconds to import, so only where they are used.
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    before = torch.get_num_threads()
    try:
        # One kernel for each size and number of threads is more than dynamo keeps by default.
        dynamo.recompile_limit = 64
        inductor.compile_threads = 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = torch.compile(subject.module, dynamic=False)
            runner = TorchRunner(compiled, threads)
            runner.prepare()
            with torch.no_grad():
                compiled(torch.zeros((1, *hw, 3), dtype=torch.uint8))
    except Exception as error:  # each stage of the compiler raises errors of its own
        raise AbsentRuntime(
            f"torch.compile failed ({_first_line(error)}). It needs a C++ compiler."
        ) from error
    finally:
        torch.set_num_threads(before)
    return runner


def open_cuda(subject: Subject, hw: HW, threads: int) -> Runner:
    """A copy of the module on the GPU."""
    if not torch.cuda.is_available():
        raise AbsentRuntime("torch finds no CUDA device here.")
    import copy

    return CudaRunner(copy.deepcopy(subject.module).to("cuda"))


def open_naive(subject: Subject, hw: HW, threads: int) -> Runner:
    """The naive graph in a session on the CPU."""
    return SessionRunner(subject.naive_graph, threads, "CPUExecutionProvider")


def open_folded(subject: Subject, hw: HW, threads: int) -> Runner:
    """The folded model file in a session on the CPU."""
    return SessionRunner(str(folded_file(subject)), threads, "CPUExecutionProvider")


def open_backend(subject: Subject, hw: HW, threads: int) -> Runner:
    """The folded model file in the backend of `patchwatch run`."""
    return BackendRunner(folded_file(subject), threads)


def open_provider(provider: str) -> Open:
    """The folded model file in a session on one of ONNX Runtime's other providers."""

    def opened(subject: Subject, hw: HW, threads: int) -> Runner:
        if provider not in onnxruntime.get_available_providers():
            raise AbsentRuntime(
                f"this ONNX Runtime has no {provider}. "
                "It takes an NVIDIA GPU and: pip install onnxruntime-gpu"
            )
        return SessionRunner(str(folded_file(subject)), threads, provider)

    return opened


def open_engine(precision: Precision) -> Open:
    """The folded model file as an engine, built here if there is none yet."""

    def opened(subject: Subject, hw: HW, threads: int) -> Runner:
        try:
            return EngineRunner(folded_file(subject), precision, hw)
        except (MissingDependency, GpuError, ModelError) as error:
            raise AbsentRuntime(str(error)) from error

    return opened


def folded_file(subject: Subject) -> Path:
    """The subject's folded file.

    Raises:
        AbsentRuntime: it has none.
    """
    if subject.folded_file is None:
        raise AbsentRuntime(f"{subject.name} has no folded form.")
    return subject.folded_file


RUNTIMES: tuple[Runtime, ...] = (
    Runtime("torch eager", open_eager),
    Runtime("torch.compile", open_compiled, slow_to_open=True),
    Runtime("torch eager, CUDA", open_cuda),
    Runtime(NAIVE, open_naive),
    Runtime(FOLDED, open_folded),
    Runtime("Patchwatch's backend, folded graph", open_backend),
    Runtime("ONNX Runtime CUDA, folded graph", open_provider("CUDAExecutionProvider")),
    Runtime("ONNX Runtime TensorRT, folded graph", open_provider("TensorrtExecutionProvider")),
    Runtime("TensorRT engine, float32", open_engine("fp32"), slow_to_open=True),
    Runtime("TensorRT engine, half precision", open_engine("fp16"), slow_to_open=True),
)
"""What the latency section times; a further backend is a further line."""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
