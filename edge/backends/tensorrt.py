"""Runs TensorRT engines: frames in, one enqueue, evidence out.

The caller's thread copies a frame into page-locked memory; all else happens on the one thread that
owns the GPU. Each engine has two such memories, so that the next frame is copied in while the GPU
works on the last. Device and page-locked memory is taken once per size of frames, never per frame.
"""

from __future__ import annotations

import queue
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Self

from edge.backends import ENGINE_SUFFIX
from edge.backends.base import MAX_BATCH, BackendChoice, Pending
from edge.cuda import open_cuda
from edge.cuda.front import Front
from edge.errors import StaleEngine, UsageError
from edge.manifest import Manifest, read_manifest
from edge.pixels import refuse_odd
from edge.regions import RegionSpec, place
from edge.tensorrt.board import read_board
from edge.tensorrt.cache import Engine
from edge.tensorrt.engine import INPUT, LoadedEngine, Memory, Spans, version
from edge.tensorrt.owner import GpuOwner
from edge.tensorrt.record import DEFAULT_PRECISION, Machine, Shape, machine_of
from edge.tensorrt.store import Engines, EngineStore, OneEngine
from edge.types import Batch, Box, Evidence, Image, PixelFormat

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, MirroredArray

Work = Callable[["Cuda"], list[Evidence]]

MOST_RUNNERS = 3
"""Sizes of frames whose engines are loaded at once; the least recently used one goes."""

DEPTH = 2
"""Frames in hand at once: one on the GPU, one being copied in."""

_TRIALS = 8
"""Rounds of each kind of memory before one is chosen."""


def open_model(path: Path, choice: BackendChoice) -> TensorRTBackend:
    """The backend of a choice; see `edge.backends.open_backend`."""
    if path.suffix == ENGINE_SUFFIX:
        engine = OneEngine(path)
        built = engine.engine.sidecar.key.precision
        if choice.precision not in (None, built):
            raise UsageError(f"--precision {choice.precision}: {path} was built for {built}.")
        return TensorRTBackend(engine, engine.manifest, choice.zero_copy)
    manifest = read_manifest(path)
    precision = choice.precision or DEFAULT_PRECISION
    store = EngineStore(path, manifest, precision, choice.build, progress=choice.progress)
    return TensorRTBackend(store, manifest, choice.zero_copy)


class TensorRTBackend:
    """A backend on engines of one model; open from construction on.

    Args:
        engines: gives the engine for each size of frames.
        manifest: of the model.
        mapped: whether the GPU reads frames from the CPU's memory (zero-copy); None to measure,
            where both share one memory.

    Raises:
        GpuError: no GPU, or no driver.
        MissingDependency: pycuda is not installed.
    """

    name = "tensorrt"

    def __init__(self, engines: Engines, manifest: Manifest, mapped: bool | None = None) -> None:
        self.manifest = manifest
        self._engines = engines
        self._mapped = mapped
        self._runners: OrderedDict[str, EngineRunner] = OrderedDict()
        self._front: Front | None = None
        self._owner = GpuOwner(open_cuda)
        gpu = self._owner.start()
        self.machine: Machine = machine_of(
            version(), gpu.name, gpu.compute_capability, gpu.driver, read_board()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.close(self._free)

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Find or build the engine for that size, and run it once."""
        self.infer(np.zeros((batch, height, width, 3), np.uint8))

    def infer(self, frames: Batch, source: str | None = None) -> list[Evidence]:
        """See `Backend.infer`; raises `EngineError` where no engine takes this size."""
        parts = [frames[i : i + MAX_BATCH] for i in range(0, len(frames), MAX_BATCH)]
        futures = [self._give(part) for part in parts]
        return [item for future in futures for item in future.result()]

    def submit(
        self,
        image: Image,
        pixel_format: PixelFormat,
        region: RegionSpec,
        source: str | None = None,
    ) -> Pending:
        """Take a frame and cut the region out of it; see `FrameBackend.submit`.

        What only needs cutting is cut by the copy into page-locked memory. What needs resizing or
        another format is copied whole, and a kernel makes the engine's input of it.
        """
        whole = _geometry(image, pixel_format, region)
        left, top, right, bottom = whole.boxes[0]
        only_cut = pixel_format == "bgr" and (bottom - top, right - left) == whole.input_hw
        parts = [
            self._give([image[y0:y1, x0:x1] for x0, y0, x1, y1 in part.boxes])
            if only_cut
            else self._give_whole(part, image)
            for part in whole.parts(MAX_BATCH)
        ]
        return Pending(whole.boxes, whole.input_hw, parts)

    def spans(self, shape: Shape, longest_s: float = 3.0) -> Spans:
        """Where the time of a frame goes with the engine for a shape, measured for so long."""
        runner = self._runner(shape.batch, shape.height, shape.width)
        return self._owner.call(partial(runner.measure, longest_s))

    def chose_zero_copy(self, shape: Shape) -> bool:
        """Whether the GPU reads the frames of that shape from the CPU's memory."""
        return self._runner(shape.batch, shape.height, shape.width).mapped

    def front_pictures(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Batch:
        """What the front end's kernel makes of a frame, uint8 [N, h, w, 3] BGR; to be compared."""
        geometry = _geometry(image, pixel_format, region)

        def make(cuda: Cuda) -> Batch:
            shape = (len(geometry.boxes), *geometry.input_hw, 3)
            frame = cuda.mirrored(image.shape, np.uint8)
            pictures = cuda.mirrored(shape, np.uint8)
            frame.array[:] = image
            frame.copy_in()
            self._cut(cuda, geometry, frame.pointer, pictures.pointer)
            pictures.copy_out()
            cuda.synchronize()
            found: Batch = pictures.array.copy()
            frame.free()
            pictures.free()
            return found

        return self._owner.call(make)

    def _give(self, pictures: Sequence[Image] | Batch) -> Future[list[Evidence]]:
        """Copy pictures of one size as they are."""
        count = len(pictures)
        runner = self._runner(count, *pictures[0].shape[:2])

        def fill(slot: FrameSlot) -> Work:
            for target, picture in zip(slot.memory.frames, pictures, strict=False):
                target[:] = picture
            return partial(runner.score, slot, slot.memory, count)

        return self._post(runner, fill)

    def _give_whole(self, geometry: _Geometry, image: Image) -> Future[list[Evidence]]:
        """Copy the whole frame, and let the GPU cut."""
        runner = self._runner(len(geometry.boxes), *geometry.input_hw)

        def fill(slot: FrameSlot) -> Work:
            if not slot.takes(image):
                self._owner.call(lambda cuda: slot.make_room(cuda, runner.engine, image))
            slot.take(image)
            return partial(self._score_whole, runner, slot, geometry)

        return self._post(runner, fill)

    def _post(
        self, runner: EngineRunner, fill: Callable[[FrameSlot], Work]
    ) -> Future[list[Evidence]]:
        """Fill a slot as soon as one is free, and hand it to the owning thread."""
        slot = runner.free_slots.get()
        try:
            work = fill(slot)

            def run(cuda: Cuda) -> list[Evidence]:
                try:
                    return work(cuda)
                finally:
                    runner.free_slots.put(slot)

            return self._owner.post(run)
        except BaseException:
            runner.free_slots.put(slot)
            raise

    def _score_whole(
        self, runner: EngineRunner, slot: FrameSlot, geometry: _Geometry, cuda: Cuda
    ) -> list[Evidence]:
        memory = slot.made_on_gpu
        assert memory is not None  # make_room took it
        self._cut(cuda, geometry, slot.frame_on_gpu(), memory.addresses()[INPUT])
        return runner.score(slot, memory, len(geometry.boxes), cuda)

    def _cut(self, cuda: Cuda, geometry: _Geometry, frame: int, pictures: int) -> None:
        """Put into the stream what makes pictures of a frame, both on the GPU."""
        if self._front is None:
            self._front = Front(cuda)
        placement = self._front.place(
            geometry.frame_hw, geometry.pixel_format, geometry.boxes, geometry.input_hw
        )
        self._front.run(placement, frame, pictures)

    def _runner(self, batch: int, height: int, width: int) -> EngineRunner:
        shape = Shape(batch=1 if batch == 1 else MAX_BATCH, height=height, width=width)
        name = str(shape)
        runner = self._runners.get(name)
        if runner is None:
            runner = self._open_runner(shape)
            while len(self._runners) >= MOST_RUNNERS:
                self._owner.call(self._runners.popitem(last=False)[1].free)
            self._runners[name] = runner
        self._runners.move_to_end(name)
        return runner

    def _open_runner(self, shape: Shape) -> EngineRunner:
        while True:
            engine = self._engines.get(self.machine, shape)
            make = partial(EngineRunner, engine=engine, mapped=self._mapped)
            try:
                return self._owner.call(make)
            except StaleEngine:
                if not self._engines.refused(engine):
                    raise

    def _free(self, cuda: Cuda) -> None:
        for runner in self._runners.values():
            runner.free(cuda)
        self._runners.clear()
        if self._front is not None:
            self._front.free()


class FrameSlot:
    """One frame's memory: for what is cut by copying, and for whole frames that a kernel cuts."""

    def __init__(self, cuda: Cuda, engine: LoadedEngine, mapped: bool) -> None:
        self.done = cuda.event()
        self.memory = engine.memory(mapped)
        self.made_on_gpu: Memory | None = None
        self._mapped = mapped
        self._frame: MirroredArray | None = None

    def takes(self, image: Image) -> bool:
        """Whether there is room for whole frames of this size."""
        return self._frame is not None and self._frame.array.shape == image.shape

    def make_room(self, cuda: Cuda, engine: LoadedEngine, image: Image) -> None:
        """Take memory for whole frames of this size, in place of what was there."""
        if self._frame is not None:
            self._frame.free()
        self._frame = None
        self._frame = cuda.mirrored(image.shape, np.uint8, self._mapped)
        if self.made_on_gpu is None:
            self.made_on_gpu = engine.memory(self._mapped, made_on_gpu=True)

    def take(self, image: Image) -> None:
        """Copy a whole frame in; by the caller's thread, which has the slot."""
        assert self._frame is not None  # make_room came before
        self._frame.array[:] = image

    def frame_on_gpu(self) -> int:
        """The frame's address on the GPU, its copy put into the stream where one is needed."""
        assert self._frame is not None  # make_room came before
        self._frame.copy_in()
        return self._frame.pointer

    def free(self) -> None:
        """Give all of it back."""
        for memory in (self._frame, self.memory, self.made_on_gpu):
            if memory is not None:
                memory.free()


class EngineRunner:
    """A loaded engine with memory for `DEPTH` frames.

    Args:
        cuda: entered by this thread, which also uses and frees it.
        engine: a verified one.
        mapped: whether the GPU reads frames from the CPU's memory; None to measure it.
    """

    def __init__(self, cuda: Cuda, engine: Engine, mapped: bool | None) -> None:
        where = str(engine.path or f"engine of {engine.sidecar.manifest.name}")
        self.engine = LoadedEngine(cuda, engine.plan, engine.sidecar.key.shape, where)
        self._slots: list[FrameSlot] = []
        try:
            self.mapped = _mapped_is_faster(cuda, self.engine) if mapped is None else mapped
            for _ in range(DEPTH):
                self._slots.append(FrameSlot(cuda, self.engine, self.mapped))
        except BaseException:
            self.free(cuda)
            raise
        self.free_slots: queue.SimpleQueue[FrameSlot] = queue.SimpleQueue()
        for slot in self._slots:
            self.free_slots.put(slot)

    def score(self, slot: FrameSlot, memory: Memory, count: int, cuda: Cuda) -> list[Evidence]:
        """Run the first frames of a slot and wait for them once."""
        self.engine.run(memory, count)
        slot.done.record()
        slot.done.wait()
        return memory.evidence(count)

    def measure(self, longest_s: float, cuda: Cuda) -> Spans:
        """Time one slot's memory, while no frame is in hand."""
        return self.engine.measure(self._slots[0].memory, longest_s=longest_s)

    def free(self, cuda: Cuda) -> None:
        """Give back memory and engine; what was queued before has been done by then."""
        for slot in self._slots:
            slot.free()
        self.engine.free()


def _mapped_is_faster(cuda: Cuda, engine: LoadedEngine) -> bool:
    """Whether the GPU had better read and write the CPU's memory itself; measured, not assumed.

    Only asked where both share one memory: elsewhere every access would cross a bus. It reads
    mapped memory without its cache, which suits what is read once, as a frame is; whether it pays
    depends on the board, the size and the first layer.
    """
    if not (cuda.gpu.integrated and cuda.gpu.can_map):
        return False
    memories = {mapped: engine.memory(mapped) for mapped in (False, True)}
    times: dict[bool, list[float]] = {False: [], True: []}
    try:
        for memory in memories.values():
            engine.infer(memory, np.zeros_like(memory.frames[:1]))
        for _ in range(_TRIALS):
            for mapped, memory in memories.items():
                start = time.perf_counter()
                engine.run(memory, 1)
                cuda.synchronize()
                times[mapped].append(time.perf_counter() - start)
    finally:
        for memory in memories.values():
            memory.free()
    return float(np.median(times[True])) < float(np.median(times[False]))


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Frames of a size and format, the parts of them that the model sees, and how large."""

    frame_hw: tuple[int, int]
    pixel_format: PixelFormat
    boxes: Sequence[Box]
    input_hw: tuple[int, int]

    def parts(self, most: int) -> Iterator[_Geometry]:
        """The same with at most that many boxes each, in order."""
        for start in range(0, len(self.boxes), most):
            yield replace(self, boxes=self.boxes[start : start + most])


def _geometry(image: Image, pixel_format: PixelFormat, region: RegionSpec) -> _Geometry:
    if pixel_format == "nv12":
        refuse_odd(image)
    rows, width = image.shape[:2]
    frame_hw = (rows * 2 // 3 if pixel_format == "nv12" else rows), width
    boxes, input_hw = place(*frame_hw, region)
    return _Geometry(frame_hw, pixel_format, boxes, input_hw)
