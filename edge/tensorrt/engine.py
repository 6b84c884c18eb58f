"""One engine on one GPU: deserialised, given its memory, run frame by frame.

Only calls that are the same in TensorRT 8.6 to 11 are used, and tensors are known by their names.
All of it happens on the thread that entered the `Cuda` object.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Self

from edge.errors import ContractError, EngineError, MissingDependency, StaleEngine
from edge.tensorrt.log_lines import Doing, LogLines, Problem, explain
from edge.tensorrt.record import Shape
from edge.types import Batch, Evidence

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, DeviceMemory, MirroredArray

try:
    import tensorrt as trt
except (ImportError, OSError) as error:
    raise MissingDependency(
        f"TensorRT ({error})",
        "run an engine",
        "sudo apt install python3-libnvinfer on a Jetson, in a virtual environment made with "
        "--system-site-packages; elsewhere pip install tensorrt-cu12",
    ) from error

INPUT, LOGIT, PATCH_LOGITS = "frames", "logit", "patch_logits"


class Logger(trt.ILogger):  # type: ignore[misc]  # the bindings have no types
    """Keeps TensorRT's warnings and errors, to explain the None that it returns."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines = LogLines()

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (self.INTERNAL_ERROR, self.ERROR, self.WARNING):
            self.lines.add(severity.name, msg)


@functools.cache
def logger() -> Logger:
    """The one of this process: TensorRT keeps using the first that it was given."""
    return Logger()


def version() -> str:
    """Of TensorRT, all its parts."""
    return str(trt.__version__)


class Memory:
    """Where one batch lies: a page-locked side for the CPU, and addresses for the GPU.

    Args:
        cuda: entered.
        shape: largest batch.
        patches: height and width of the patch map; None without one.
        mapped: whether the GPU reads and writes the page-locked side itself (zero-copy).
        made_on_gpu: whether the frames are written by a kernel: they then have no side for the
            CPU, and lie in the GPU's own memory even where the evidence is mapped.
    """

    def __init__(
        self,
        cuda: Cuda,
        shape: Shape,
        patches: tuple[int, int] | None,
        mapped: bool,
        made_on_gpu: bool = False,
    ) -> None:
        self._arrays: dict[str, MirroredArray] = {}
        self._frames_on_gpu: DeviceMemory | None = None
        frames = (shape.batch, shape.height, shape.width, 3)
        try:
            if made_on_gpu:
                self._frames_on_gpu = cuda.allocate(math.prod(frames))
            else:
                self._arrays[INPUT] = cuda.mirrored(frames, np.uint8, mapped)
            self._arrays[LOGIT] = cuda.mirrored((shape.batch,), np.float32, mapped)
            if patches is not None:
                size = (shape.batch, *patches)
                self._arrays[PATCH_LOGITS] = cuda.mirrored(size, np.float32, mapped)
        except BaseException:
            self.free()
            raise

    @property
    def frames(self) -> Batch:
        """The page-locked input, uint8 [N, H, W, 3] BGR."""
        array: Batch = self._arrays[INPUT].array
        return array

    def addresses(self) -> dict[str, int]:
        """Each tensor's name and its address on the GPU."""
        made = {} if self._frames_on_gpu is None else {INPUT: self._frames_on_gpu.pointer}
        return made | {name: array.pointer for name, array in self._arrays.items()}

    def copy_in(self, count: int) -> None:
        """Put the copy of the first frames into the stream; nothing where none is needed."""
        if INPUT in self._arrays:
            self._arrays[INPUT].copy_in(count)

    def copy_out(self, count: int) -> None:
        """Put the copies of the evidence into the stream; nothing where it is mapped."""
        for name in self._arrays.keys() - {INPUT}:
            self._arrays[name].copy_out(count)

    def evidence(self, count: int) -> list[Evidence]:
        """Copies of what the GPU wrote for the first frames, once the stream has reached it."""
        logits = self._arrays[LOGIT].array
        maps = self._arrays.get(PATCH_LOGITS)
        return [
            Evidence(float(logits[i]), None if maps is None else maps.array[i].copy())
            for i in range(count)
        ]

    def free(self) -> None:
        """Give all of it back."""
        for array in self._arrays.values():
            array.free()
        if self._frames_on_gpu is not None:
            self._frames_on_gpu.free()


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
    """A deserialised engine with its execution context.

    Args:
        cuda: entered by this thread.
        plan: TensorRT's bytes, built for frames of `shape`.
        where: its name in messages.

    Raises:
        EngineError: TensorRT refuses the plan; the message carries its own words.
        ContractError: other tensors than those of the contract.
    """

    def __init__(self, cuda: Cuda, plan: bytes, shape: Shape, where: str) -> None:
        self.shape = shape
        self._cuda = cuda
        self._where = where
        log = logger()
        with _explained(where, "load"):
            self._runtime = _given(trt.Runtime(log))
            self._engine = _given(self._runtime.deserialize_cuda_engine(plan))
            self._has_patches = _check_contract(self._engine, where)
            self._context = _given(self._engine.create_execution_context())
        self._bound: Memory | None = None
        self._count = 0
        self.patches_hw = self._patches_hw(shape.batch)

    def memory(self, mapped: bool, made_on_gpu: bool = False) -> Memory:
        """Memory for one batch of the largest size; see `Memory`."""
        return Memory(self._cuda, self.shape, self.patches_hw, mapped, made_on_gpu)

    def enqueue(self, memory: Memory, count: int) -> None:
        """Put a run over the first `count` frames of a memory into the stream, without copies."""
        with _explained(self._where, "run"):
            if memory is not self._bound:
                for name, address in memory.addresses().items():
                    _accepted(self._context.set_tensor_address(name, address), f"{name}'s address")
                self._bound = memory
            self._resize(count)
            _accepted(self._context.execute_async_v3(self._cuda.stream), "to start")

    def run(self, memory: Memory, count: int) -> None:
        """Copy in, run, copy out; all put into the stream and not waited for."""
        memory.copy_in(count)
        self.enqueue(memory, count)
        memory.copy_out(count)

    def infer(self, memory: Memory, frames: Batch) -> list[Evidence]:
        """Score a batch that fits, uint8 [N, H, W, 3] BGR, and wait for it."""
        count = len(frames)
        memory.frames[:count] = frames
        self.run(memory, count)
        self._cuda.synchronize()
        return memory.evidence(count)

    def measure(self, memory: Memory, rounds: int = 50, longest_s: float = 3.0) -> Spans:
        """Time the parts of at most that many frames, for at most that many seconds.

        The GPU's parts are timed by its events, the rest by the CPU's clock.
        """
        events = [self._cuda.event(timing=True) for _ in range(4)]
        rows: list[tuple[float, ...]] = []
        deadline = time.perf_counter() + longest_s
        while len(rows) < rounds and (not rows or time.perf_counter() < deadline):
            start = time.perf_counter()
            events[0].record()
            memory.copy_in(1)
            events[1].record()
            before = time.perf_counter()
            self.enqueue(memory, 1)
            enqueue = (time.perf_counter() - before) * 1e3
            events[2].record()
            memory.copy_out(1)
            events[3].record()
            events[3].wait()
            whole = (time.perf_counter() - start) * 1e3
            spans = [b.elapsed_ms(a) for a, b in itertools.pairwise(events)]
            rows.append((*spans, enqueue, whole))
        return Spans(*(float(value) for value in np.median(np.array(rows), axis=0)))

    def free(self) -> None:
        """Drop the context before the engine, and the engine before the runtime."""
        self._bound = None
        self._context = None
        self._engine = None
        self._runtime = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def _resize(self, count: int) -> None:
        if count == self._count:
            return
        size = (count, self.shape.height, self.shape.width, 3)
        _accepted(self._context.set_input_shape(INPUT, size), f"frames of shape {size}")
        self._count = count

    def _patches_hw(self, batch: int) -> tuple[int, int] | None:
        with _explained(self._where, "run"):
            self._resize(batch)
        if not self._has_patches:
            return None
        size = tuple(self._context.get_tensor_shape(PATCH_LOGITS))
        if len(size) != 3 or min(size) < 1:
            raise ContractError(
                f"{self._where}: expected a patch map of a known size for frames of {self.shape}, "
                f"found {size}. Export the model with 'patchwatch export'."
            )
        return int(size[1]), int(size[2])


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


def _given(value: Any) -> Any:
    if value is None:
        raise _Refused("TensorRT returned nothing")
    return value


def _accepted(value: object, what: str) -> None:
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
def _explained(where: str, doing: Doing) -> Iterator[None]:
    """Turn what TensorRT refuses into an error that carries what it wrote about it."""
    lines = logger().lines
    lines.clear()
    try:
        yield
    except (_Refused, RuntimeError, TypeError) as error:
        problem = explain(lines, doing, str(error))
        stale = doing == "load" and problem.kind in _STALE
        raise (StaleEngine if stale else EngineError)(f"{where}: {problem}") from error
