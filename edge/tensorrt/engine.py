"""One engine on one GPU: deserialised, given its memory, run frame by frame.

Only calls that are the same in TensorRT 8.6 to 11 are used, and tensors are known by their names.
All of it happens on the thread that entered the `Cuda` object.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.errors import ContractError, EngineError, MissingDependency, StaleEngine
from edge.tensorrt.log_lines import Doing, Line, Problem, explain
from edge.tensorrt.record import Shape
from edge.types import Batch, Evidence

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, DeviceMemory, MirroredArray

try:
    import tensorrt as trt
except (ImportError, OSError) as error:
    raise MissingDependency(
        f"TensorRT ({error})",
        "build or run an engine",
        "sudo apt install python3-libnvinfer on a Jetson, in a virtual environment made with "
        "--system-site-packages; elsewhere pip install tensorrt-cu12",
    ) from error

INPUT, LOGIT, PATCH_LOGITS = "frames", "logit", "patch_logits"


class Logger(trt.ILogger):  # type: ignore[misc]  # the bindings have no types
    """Keeps TensorRT's newest warnings and errors, to explain the None that it returns."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: deque[Line] = deque(maxlen=256)
        self.echo: TextIO | None = None

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (self.INTERNAL_ERROR, self.ERROR, self.WARNING):
            self.lines.append(Line(severity.name, msg))
        if self.echo is not None and severity != self.VERBOSE:
            print(f"{severity.name}: {msg}", file=self.echo, flush=True)


@functools.cache
def logger() -> Logger:
    """The one of this process: TensorRT keeps using the first that it was given."""
    return Logger()


def version() -> str:
    """Of TensorRT, all its parts."""
    return str(trt.__version__)


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the time of a frame goes, milliseconds, medians.

    Attributes:
        copy_in: the frame to the GPU.
        compute: the engine alone, on the GPU.
        copy_out: the evidence back.
        enqueue: what the CPU spends to start the engine.
        round_trip: from page-locked frame to page-locked evidence, by the CPU's clock.
    """

    copy_in: float
    compute: float
    copy_out: float
    enqueue: float
    round_trip: float


class LoadedEngine:
    """An engine, deserialised for frames of `shape`; `where` names it in messages.

    Raises:
        EngineError: TensorRT refuses the plan; the message carries its own words.
        ContractError: other tensors than those of the contract.
    """

    def __init__(self, cuda: Cuda, plan: bytes, shape: Shape, where: str) -> None:
        self.shape, self.where, self.cuda = shape, where, cuda
        with explained(where, "load"):
            self._runtime = given(trt.Runtime(logger()))
            self.engine = given(self._runtime.deserialize_cuda_engine(plan))
            self.has_patches = _check_contract(self.engine, where)

    def free(self) -> None:
        """Drop the engine before the runtime; contexts go before both."""
        self.engine = self._runtime = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()


class EngineContext:
    """An execution context of an engine, bound for as long as it lives to its own memory, which is
    for one batch of the largest size.

    Args:
        loaded: the engine.
        mapped: whether the GPU reads and writes the page-locked side itself (zero-copy).
        made_on_gpu: whether the frames are written by a kernel: they then have no side for the
            CPU, and lie in the GPU's own memory even where the evidence is mapped.
    """

    def __init__(self, loaded: LoadedEngine, mapped: bool, made_on_gpu: bool = False) -> None:
        self._loaded, self._cuda, self.shape = loaded, loaded.cuda, loaded.shape
        self._arrays: dict[str, MirroredArray] = {}
        self._frames_on_gpu: DeviceMemory | None = None
        self._count = 0
        shape = loaded.shape
        size = (shape.batch, shape.height, shape.width, 3)
        with explained(loaded.where, "load"):
            self._context = given(loaded.engine.create_execution_context())
        try:
            if made_on_gpu:
                self._frames_on_gpu = self._cuda.allocate(math.prod(size))
                self._bind(INPUT, self._frames_on_gpu.pointer)
            else:
                self._mirror(INPUT, size, np.uint8, mapped)
            self._mirror(LOGIT, (shape.batch,), np.float32, mapped)
            if loaded.has_patches:
                hw = self._patches_hw()
                self._mirror(PATCH_LOGITS, (shape.batch, *hw), np.float32, mapped)
        except BaseException:
            self.free()
            raise

    @property
    def frames(self) -> Batch:
        """The page-locked input, uint8 [N, H, W, 3] BGR."""
        array: Batch = self._arrays[INPUT].array
        return array

    @property
    def frames_pointer(self) -> int:
        """The input's address on the GPU, where a kernel makes it."""
        assert self._frames_on_gpu is not None  # asked of no other
        return self._frames_on_gpu.pointer

    def copy_in(self, count: int) -> None:
        """Put the copy of the first frames into the stream; nothing where none is needed."""
        if INPUT in self._arrays:
            self._arrays[INPUT].copy_in(count)

    def enqueue(self, count: int) -> None:
        """Put a run over the first `count` frames into the stream, without copies."""
        with explained(self._loaded.where, "run"):
            self._resize(count)
            accepted(self._context.execute_async_v3(self._cuda.stream), "to start")

    def copy_out(self, count: int) -> None:
        """Put the copies of the evidence into the stream; nothing where it is mapped."""
        for name in self._arrays.keys() - {INPUT}:
            self._arrays[name].copy_out(count)

    def run(self, count: int) -> None:
        """Copy in, run, copy out; all put into the stream and not waited for."""
        self.copy_in(count)
        self.enqueue(count)
        self.copy_out(count)

    def evidence(self, count: int) -> list[Evidence]:
        """Copies of what the GPU wrote for the first frames, once the stream has reached it."""
        logits = self._arrays[LOGIT].array
        maps = self._arrays.get(PATCH_LOGITS)
        return [
            Evidence(float(logits[i]), None if maps is None else maps.array[i].copy())
            for i in range(count)
        ]

    def infer(self, frames: Batch) -> list[Evidence]:
        """Score a batch that fits, uint8 [N, H, W, 3] BGR, and wait for it."""
        count = len(frames)
        self.frames[:count] = frames
        self.run(count)
        self._cuda.synchronize()
        return self.evidence(count)

    def measure(self, rounds: int = 50, longest_s: float = 3.0) -> Spans:
        """Time the parts of at most that many frames, for at most that many seconds.

        The GPU's parts are timed by its events, the rest by the CPU's clock.
        """
        events = [self._cuda.event(timing=True) for _ in range(4)]
        rows: list[tuple[float, ...]] = []
        deadline = time.perf_counter() + longest_s
        while len(rows) < rounds and (not rows or time.perf_counter() < deadline):
            start = time.perf_counter()
            events[0].record()
            self.copy_in(1)
            events[1].record()
            before = time.perf_counter()
            self.enqueue(1)
            enqueue = (time.perf_counter() - before) * 1e3
            events[2].record()
            self.copy_out(1)
            events[3].record()
            events[3].wait()
            whole = (time.perf_counter() - start) * 1e3
            spans = [b.elapsed_ms(a) for a, b in itertools.pairwise(events)]
            rows.append((*spans, enqueue, whole))
        return Spans(*(float(value) for value in np.median(np.array(rows), axis=0)))

    def layer_types(self) -> dict[str, str]:
        """Each layer of the engine → type of its results ("Half", "FP32", …), "unknown" where the
        inspector does not say; empty for an engine that was built without details.
        """
        inspector = self._loaded.engine.create_engine_inspector()
        inspector.execution_context = self._context  # else shapes, and types with them, are unknown
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        found = json.loads(text).get("Layers", [])
        return {layer["Name"]: _type_of(layer) for layer in found if isinstance(layer, dict)}

    def free(self) -> None:
        """Drop the context, and give its memory back."""
        self._context = None
        for array in self._arrays.values():
            array.free()
        if self._frames_on_gpu is not None:
            self._frames_on_gpu.free()

    def _mirror(self, name: str, size: Sequence[int], dtype: npt.DTypeLike, mapped: bool) -> None:
        self._arrays[name] = self._cuda.mirrored(size, dtype, mapped)
        self._bind(name, self._arrays[name].pointer)

    def _bind(self, name: str, pointer: int) -> None:
        with explained(self._loaded.where, "load"):
            accepted(self._context.set_tensor_address(name, pointer), f"{name}'s address")

    def _resize(self, count: int) -> None:
        if count != self._count:
            shape = self._loaded.shape
            size = (count, shape.height, shape.width, 3)
            accepted(self._context.set_input_shape(INPUT, size), f"frames of shape {size}")
            self._count = count

    def _patches_hw(self) -> tuple[int, int]:
        shape = self._loaded.shape
        with explained(self._loaded.where, "run"):
            self._resize(shape.batch)
        size = tuple(self._context.get_tensor_shape(PATCH_LOGITS))
        if len(size) != 3 or min(size) < 1:
            raise ContractError(
                f"{self._loaded.where}: expected a patch map of a known size for frames of "
                f"{shape}, found {size}. Export the model with 'patchwatch export'."
            )
        return int(size[1]), int(size[2])


def _type_of(layer: Mapping[str, Any]) -> str:
    """As `Row major linear FP16 format` (8.6) or `Half` (10) of an output, else of the weights."""
    texts = [str(output.get("Format/Datatype", "")) for output in layer.get("Outputs", [])]
    weights = layer.get("Weights")
    texts.append(str(weights.get("Type", "")) if isinstance(weights, dict) else "")
    return next((match[0] for text in texts if (match := _TYPE.search(text))), "unknown")


_TYPE = re.compile(r"\b(?:FP32|Float|FP16|Half|BF16|BFloat16|U?INT8|U?Int8|Int32|Int64|Bool)\b")


def _check_contract(engine: Any, where: str) -> bool:
    """Whether there is a patch map; refuses what is not the contract of a model file."""
    found = {
        name: (
            engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            engine.get_tensor_dtype(name),
            len(tuple(engine.get_tensor_shape(name))),
        )
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors))
    }
    wanted = {
        INPUT: (True, trt.DataType.UINT8, 4),
        LOGIT: (False, trt.DataType.FLOAT, 1),
        PATCH_LOGITS: (False, trt.DataType.FLOAT, 3),
    }
    has_patches = PATCH_LOGITS in found
    names = wanted.keys() if has_patches else wanted.keys() - {PATCH_LOGITS}
    if found != {name: wanted[name] for name in names}:
        text = ", ".join(
            f"{name} ({dtype}, rank {rank})" for name, (_, dtype, rank) in found.items()
        )
        raise ContractError(
            f"{where}: its tensors are {text or 'none'}. Expected frames (uint8, rank 4), logit "
            "(float32, rank 1) and perhaps patch_logits (float32, rank 3)."
        )
    return has_patches


class _Refused(Exception):
    """TensorRT returned None, False or nothing of use."""


def given(value: Any, what: str = "TensorRT returned nothing") -> Any:
    """A value that is not None; what is refused is told by `explained`, around the call."""
    if value is None:
        raise _Refused(what)
    return value


def accepted(value: object, what: str) -> None:
    """Refuse a False, as `given` does a None."""
    if not value:
        raise _Refused(f"TensorRT refused {what}")


_STALE = (
    Problem.OTHER_VERSION,
    Problem.OTHER_GPU,
    Problem.DAMAGED,
    Problem.NOT_A_PLAN,
    Problem.UNKNOWN,
)
"""Why a plan may be refused that another plan would not be."""


@contextmanager
def explained(where: str, doing: Doing) -> Iterator[None]:
    """Turn what TensorRT refuses into an EngineError that carries what it wrote about it."""
    lines = logger().lines
    lines.clear()
    try:
        yield
    except (_Refused, RuntimeError, TypeError) as error:
        problem = explain(lines.copy(), doing, str(error))
        stale = doing == "load" and problem.kind in _STALE
        raise (StaleEngine if stale else EngineError)(f"{where}: {problem}") from error
