"""Runs TensorRT engines: frames in, one enqueue, evidence out.

The caller's thread copies what the model looks at into page-locked memory; all else happens on the
one thread that owns the GPU. Each engine has two slots with such memory, so that the next frame is
copied in while the GPU works on the last. A slot has a lane for each kind of frames: memory is
taken once, never per frame, and after its first run all work for a frame is one CUDA graph.
"""

from __future__ import annotations

import logging
import queue
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge.backends import ENGINE_SUFFIX
from edge.backends.base import MAX_BATCH, Backend, BackendChoice, Pending
from edge.cuda import open_cuda
from edge.cuda.front import Front
from edge.errors import GpuError, PatchwatchError, StaleEngine, UsageError
from edge.manifest import Manifest, read_manifest
from edge.pixels import refuse_odd
from edge.regions import RegionSpec, place
from edge.tensorrt.engine import EngineContext, LoadedEngine, Spans, version
from edge.tensorrt.owner import GpuOwner
from edge.tensorrt.record import DEFAULT_PRECISION, Machine, Shape, machine_of
from edge.tensorrt.store import Engine, Engines, EngineStore, OneEngine
from edge.types import Batch, Box, Evidence, Image, PixelFormat

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, Graph

log = logging.getLogger(__name__)

MOST_RUNNERS = 3
"""Sizes of frames whose engines are loaded at once; the least recently used one goes."""

MOST_LANES = 16
"""Geometries of frames that a slot has memory for at once; the least recently used one goes."""

DEPTH = 2
"""Frames in hand at once: one on the GPU, one being copied in."""

_TRIALS = 8
"""Rounds of each kind of memory before one is chosen."""

Reach = Literal["copied", "mapped", "direct"]
"""How the GPU gets at a frame: by a copy, in page-locked memory that it maps, or where it lies."""


def open_model(path: Path, choice: BackendChoice) -> TensorRTBackend:
    """The backend of a choice; see `edge.backends.open_backend`."""
    if path.suffix == ENGINE_SUFFIX:
        engine = OneEngine(path)
        built = engine.engine.sidecar.key.precision
        if choice.precision not in (None, built):
            raise UsageError(f"--precision {choice.precision}: {path} was built for {built}.")
        return TensorRTBackend(engine, engine.manifest.computed_in(built), choice.zero_copy)
    manifest = read_manifest(path)
    precision = choice.precision or DEFAULT_PRECISION
    store = EngineStore(path, manifest, precision, choice.build, progress=choice.progress)
    return TensorRTBackend(store, manifest.computed_in(precision), choice.zero_copy)


class TensorRTBackend(Backend):
    """A backend on engines of one model; open from construction on.

    Args:
        engines: gives the engine for each size of frames.
        manifest: of the model.
        mapped: whether the GPU reads frames from the CPU's memory (zero-copy); None to measure,
            where both share one memory, for each way that frames take.

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
        gpu = self._owner.gpu
        self._direct = gpu.integrated and gpu.reads_pageable and mapped is not False
        self.machine: Machine = machine_of(version(), gpu)

    def __exit__(self, *_: object) -> None:
        self._owner.close(self._free)

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Find or build the engine for that size, run it, and compile the front end's kernels."""
        for _ in range(DEPTH):
            self.infer(np.zeros((batch, height, width, 3), np.uint8))
        try:
            self._owner.call(self._kernels)
        except GpuError as error:
            log.info("frames that are resized or NV12 cannot be taken: %s", error)

    def infer(self, frames: Batch) -> list[Evidence]:
        """See `Backend.infer`; raises `EngineError` where no engine takes this size."""
        parts = [frames[i : i + MAX_BATCH] for i in range(0, len(frames), MAX_BATCH)]
        futures = [self._give_pictures(part) for part in parts]
        return [item for future in futures for item in future.result()]

    def submit(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Pending:
        """Take a frame and cut the region out of it; see `FrameBackend.submit`.

        What only needs cutting is cut by the copy into page-locked memory. What needs resizing or
        another format is made into the engine's input by a kernel, and of the frame only what the
        model looks at is copied, or nothing where the GPU reads the frame where it lies.
        """
        whole = _geometry(image, pixel_format, region)
        parts = [
            self._give_pictures([image[y0:y1, x0:x1] for x0, y0, x1, y1 in part.boxes])
            if whole.only_cut and not self._direct
            else self._give_frame(part, image)
            for part in whole.parts(MAX_BATCH)
        ]
        return Pending(whole.boxes, whole.input_hw, parts)

    def spans(self, shape: Shape, longest_s: float = 3.0) -> Spans:
        """Where the time of a frame goes with the engine for a shape, measured for so long."""
        runner = self._runner(shape.batch, shape.height, shape.width)
        return self._owner.call(lambda cuda: runner.measure(cuda, longest_s))

    def reaches(self) -> dict[str, Reach]:
        """How the GPU gets at the frames of each way that was used so far."""
        runners = self._runners.values()
        return {str(key): reach for runner in runners for key, reach in runner.reaches.items()}

    def front_pictures(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Batch:
        """What the front end's kernel makes of a frame, uint8 [N, h, w, 3] BGR; to be compared."""
        geometry = _geometry(image, pixel_format, region)

        def make(cuda: Cuda) -> Batch:
            frame = cuda.mirrored(image.shape, np.uint8)
            pictures = cuda.mirrored((len(geometry.boxes), *geometry.input_hw, 3), np.uint8)
            frame.array[:] = image
            frame.copy_in()
            placement = self._kernels(cuda).place(*geometry.placed())
            placement.run(frame.pointer, pictures.pointer)
            pictures.copy_out()
            cuda.synchronize()
            found: Batch = pictures.array.copy()
            for owned in (frame, pictures, placement):
                owned.free()
            return found

        return self._owner.call(make)

    def _give_pictures(self, pictures: Sequence[Image] | Batch) -> Future[list[Evidence]]:
        """Copy pictures of one size as they are."""
        count = len(pictures)
        runner = self._runner(count, *pictures[0].shape[:2])

        def open_it(cuda: Cuda, slot: FrameSlot, reach: Reach) -> Lane:
            return PictureLane(cuda, slot.context(reach, made_on_gpu=False), count)

        return self._give(runner, f"{count} as they are", open_it, pictures, direct=False)

    def _give_frame(self, geometry: _Geometry, image: Image) -> Future[list[Evidence]]:
        """Give the GPU what it needs of a frame, and let it cut."""
        runner = self._runner(len(geometry.boxes), *geometry.input_hw)

        def open_it(cuda: Cuda, slot: FrameSlot, reach: Reach) -> Lane:
            context = slot.context(reach, made_on_gpu=True)
            return FrameLane(cuda, context, geometry, self._kernels(cuda), reach)

        return self._give(runner, geometry, open_it, image, self._direct)

    def _give(
        self,
        runner: EngineRunner,
        key: Hashable,
        open_it: OpenLane,
        image: Sequence[Image] | Image,
        direct: bool,
    ) -> Future[list[Evidence]]:
        """Fill a slot as soon as one is free, and hand it to the owning thread."""
        slot = runner.free_slots.get()
        try:
            if key not in slot.lanes:
                if key not in runner.reaches:
                    reach = partial(runner.choose, slot=slot, open_it=open_it, image=image)
                    runner.reaches[key] = "direct" if direct else self._owner.call(reach)
                self._owner.call(lambda cuda: runner.open_lane(cuda, slot, key, open_it))
            slot.lanes.move_to_end(key)
            lane = slot.lanes[key]
            lane.fill(image)

            def run(cuda: Cuda) -> list[Evidence]:
                try:
                    return lane.score(slot)
                finally:
                    runner.free_slots.put(slot)

            return self._owner.post(run)
        except BaseException:
            runner.free_slots.put(slot)
            raise

    def _kernels(self, cuda: Cuda) -> Front:
        self._front = self._front or Front(cuda)
        return self._front

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


class Lane(ABC):
    """The way of one kind of input through a slot: its memory, and once it has run a CUDA graph of
    all that is put into the stream for it.

    A graph is only made where nothing else changes the context: of engines for single frames.
    """

    def __init__(self, cuda: Cuda, context: EngineContext, count: int) -> None:
        self._cuda, self.context, self._count = cuda, context, count
        self._graph: Graph | None = None
        self._plain_runs_left = 1 if context.shape.batch == 1 else None

    @abstractmethod
    def fill(self, image: Sequence[Image] | Image) -> None:
        """Take an input; by the caller's thread, which has the slot."""

    def free(self) -> None:
        """Give back its own memory, not the context's."""
        if self._graph is not None:
            self._graph.free()

    def put(self) -> None:
        """Put all of its work into the stream."""
        self._put_alone()
        if self._graph is not None:
            self._graph.launch()
            return
        if self._plain_runs_left == 0:
            self._plain_runs_left = None
            try:
                self._graph = self._cuda.capture(self._put)
                return self._graph.launch()
            except PatchwatchError as error:
                log.info("frames go without a CUDA graph: %s", error)
        self._put()
        if self._plain_runs_left:
            self._plain_runs_left -= 1

    def score(self, slot: FrameSlot) -> list[Evidence]:
        """Run it and wait once."""
        self.put()
        slot.done.record()
        slot.done.wait()
        return self.context.evidence(self._count)

    def _put_alone(self) -> None:
        """What cannot be part of a graph; nothing, unless a lane says so."""
        return None

    @abstractmethod
    def _put(self) -> None:
        """What can be."""


OpenLane = Callable[["Cuda", "FrameSlot", Reach], Lane]
"""Makes a lane of a slot, on the owning thread."""


class PictureLane(Lane):
    """Pictures of the engine's size are written into its page-locked input."""

    def fill(self, image: Sequence[Image] | Image) -> None:
        """Take `count` pictures, uint8 [h, w, 3] BGR."""
        for target, picture in zip(self.context.frames, image, strict=False):
            target[:] = picture

    def _put(self) -> None:
        self.context.run(self._count)


class FrameLane(Lane):
    """A kernel makes the engine's input of a frame: of its window that was copied into page-locked
    memory, or of the frame where it lies.
    """

    def __init__(
        self, cuda: Cuda, context: EngineContext, geometry: _Geometry, front: Front, reach: Reach
    ) -> None:
        super().__init__(cuda, context, len(geometry.boxes))
        self._geometry = geometry
        self._lies: Image | None = None
        window = geometry if reach == "direct" else geometry.window()
        rows, width = window.frame_hw
        nv12 = geometry.pixel_format != "bgr"
        shape = (rows * 3 // 2, width) if nv12 else (rows, width, 3)
        self._frame = None
        if reach != "direct":
            self._frame = cuda.mirrored(shape, np.uint8, reach == "mapped")
        try:
            self._placement = front.place(*window.placed())
        except BaseException:
            if self._frame is not None:
                self._frame.free()
            raise

    def fill(self, image: Sequence[Image] | Image) -> None:
        """Take a whole frame, uint8 as its format says."""
        assert isinstance(image, np.ndarray)
        if self._frame is None:
            self._lies = np.ascontiguousarray(image)
            return
        left, top, right, bottom = self._geometry.window_box()
        array = self._frame.array
        array[: bottom - top] = image[top:bottom, left:right]
        if self._geometry.pixel_format != "bgr":
            height = self._geometry.frame_hw[0]
            rows = slice(height + top // 2, height + bottom // 2)
            array[bottom - top :] = image[rows, left:right]

    def free(self) -> None:
        super().free()
        self._placement.free()
        if self._frame is not None:
            self._frame.free()

    def score(self, slot: FrameSlot) -> list[Evidence]:
        """As of every lane; the frame is let go of then."""
        try:
            return super().score(slot)
        finally:
            self._lies = None

    def _put_alone(self) -> None:
        if self._lies is not None:  # its address is another each time, which a graph would freeze
            self._placement.run(self._lies.ctypes.data, self.context.frames_pointer)

    def _put(self) -> None:
        if self._frame is not None:
            self._frame.copy_in()
            self._placement.run(self._frame.pointer, self.context.frames_pointer)
        self.context.run(self._count)


class FrameSlot:
    """What one frame in hand needs: contexts of the engine, and lanes to them."""

    def __init__(self, cuda: Cuda, engine: LoadedEngine) -> None:
        self.done = cuda.event()
        self.lanes: OrderedDict[Hashable, Lane] = OrderedDict()
        self._engine = engine
        self._contexts: dict[tuple[bool, bool], EngineContext] = {}

    def context(self, reach: Reach, made_on_gpu: bool) -> EngineContext:
        """The one for inputs that are written by the CPU, or made on the GPU."""
        key = (reach != "copied", made_on_gpu)
        if key not in self._contexts:
            self._contexts[key] = EngineContext(self._engine, *key)
        return self._contexts[key]

    def keep(self, chosen: EngineContext) -> None:
        """Give back the contexts that were tried with another kind of memory and are not used."""
        used = [chosen, *(lane.context for lane in self.lanes.values())]
        for key in [key for key, context in self._contexts.items() if context not in used]:
            self._contexts.pop(key).free()

    def free(self) -> None:
        """Give all of it back."""
        for lane in self.lanes.values():
            lane.free()
        for context in self._contexts.values():
            context.free()
        self.lanes.clear()
        self._contexts.clear()
        self.done.free()


class EngineRunner:
    """A loaded engine with `DEPTH` slots for frames.

    Args:
        cuda: entered by this thread, which also uses and frees it.
        engine: a verified one.
        mapped: whether the GPU reads frames from the CPU's memory; None to measure it.

    Attributes:
        reaches: how the GPU gets at the frames of each kind, once that was decided.
    """

    def __init__(self, cuda: Cuda, engine: Engine, mapped: bool | None) -> None:
        where = str(engine.path or f"engine of {engine.sidecar.manifest.name}")
        self._engine = LoadedEngine(cuda, engine.plan, engine.sidecar.key.shape, where)
        self._mapped = mapped
        self.reaches: dict[Hashable, Reach] = {}
        self._slots = [FrameSlot(cuda, self._engine) for _ in range(DEPTH)]
        self.free_slots: queue.SimpleQueue[FrameSlot] = queue.SimpleQueue()
        for slot in self._slots:
            self.free_slots.put(slot)

    def open_lane(self, cuda: Cuda, slot: FrameSlot, key: Hashable, open_it: OpenLane) -> None:
        """Add a lane to a slot; with too many the least recently used one goes."""
        while len(slot.lanes) >= MOST_LANES:
            slot.lanes.popitem(last=False)[1].free()
        slot.lanes[key] = open_it(cuda, slot, self.reaches[key])

    def choose(
        self, cuda: Cuda, slot: FrameSlot, open_it: OpenLane, image: Sequence[Image] | Image
    ) -> Reach:
        """Whether the GPU had better read the CPU's memory itself; measured, not assumed.

        Only asked where both share one memory: elsewhere every access would cross a bus. It reads
        mapped memory without its cache, which suits what is read once, as an engine's input is, and
        not what the front end's kernel reads again and again; so each kind of frames is timed on
        all of its own way.
        """
        if self._mapped is not None or not (cuda.gpu.integrated and cuda.gpu.can_map):
            return "mapped" if self._mapped else "copied"
        lanes: dict[Reach, Lane] = {}
        times: dict[Reach, list[float]] = {"copied": [], "mapped": []}
        try:
            for reach in times:
                lanes[reach] = open_it(cuda, slot, reach)
                lanes[reach].fill(image)
            for _ in range(_TRIALS):
                for reach, lane in lanes.items():
                    start = time.perf_counter()
                    lane.put()
                    cuda.synchronize()
                    times[reach].append(time.perf_counter() - start)
        finally:
            for lane in lanes.values():
                lane.free()
        # The median leaves out the first runs, which load kernels and capture.
        best = min(times, key=lambda reach: float(np.median(times[reach])))
        slot.keep(lanes[best].context)
        return best

    def measure(self, cuda: Cuda, longest_s: float) -> Spans:
        """Time one slot's memory, while no frame is in hand."""
        reach: Reach = "mapped" if self._mapped else "copied"
        return self._slots[0].context(reach, made_on_gpu=False).measure(longest_s=longest_s)

    def free(self, cuda: Cuda) -> None:
        """Give back memory and engine; what was queued before has been done by then."""
        for slot in self._slots:
            slot.free()
        self._engine.free()


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Frames of a size and format, the parts of them that the model sees, and how large."""

    frame_hw: tuple[int, int]
    pixel_format: PixelFormat
    boxes: tuple[Box, ...]
    input_hw: tuple[int, int]

    def __str__(self) -> str:
        sizes = (f"{height}x{width}" for height, width in (self.frame_hw, self.input_hw))
        return f"{self.pixel_format} {' to '.join(sizes)}"

    @property
    def only_cut(self) -> bool:
        """Whether the parts are the engine's input as they are."""
        left, top, right, bottom = self.boxes[0]
        return self.pixel_format == "bgr" and (bottom - top, right - left) == self.input_hw

    def parts(self, most: int) -> Iterator[_Geometry]:
        """The same with at most that many boxes each, in order."""
        for start in range(0, len(self.boxes), most):
            yield replace(self, boxes=self.boxes[start : start + most])

    def placed(self) -> tuple[tuple[int, int], PixelFormat, tuple[Box, ...], tuple[int, int]]:
        """What `Front.place` takes."""
        return self.frame_hw, self.pixel_format, self.boxes, self.input_hw

    def window_box(self) -> Box:
        """What holds all boxes, with even sides and corners, as two by two pixels of NV12 share
        their colour.
        """
        lefts, tops, rights, bottoms = zip(*self.boxes, strict=True)
        height, width = self.frame_hw
        right, bottom = max(rights) + max(rights) % 2, max(bottoms) + max(bottoms) % 2
        left, top = min(lefts) // 2 * 2, min(tops) // 2 * 2
        return left, top, min(right, width), min(bottom, height)

    def window(self) -> _Geometry:
        """The same of the window alone."""
        left, top, right, bottom = self.window_box()
        boxes = tuple((a - left, b - top, c - left, d - top) for a, b, c, d in self.boxes)
        return replace(self, frame_hw=(bottom - top, right - left), boxes=boxes)


def _geometry(image: Image, pixel_format: PixelFormat, region: RegionSpec) -> _Geometry:
    if pixel_format != "bgr":
        refuse_odd(image)
    rows, width = image.shape[:2]
    frame_hw = (rows * 2 // 3 if pixel_format != "bgr" else rows), width
    boxes, input_hw = place(*frame_hw, region)
    return _Geometry(frame_hw, pixel_format, tuple(boxes), input_hw)
