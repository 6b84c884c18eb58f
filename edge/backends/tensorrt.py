"""Runs TensorRT engines: frames in, one enqueue, evidence out.

The caller's thread copies a frame into page-locked memory; all else happens on the one thread that
owns the GPU. Each engine has two such memories, so that the next frame is taken in while the GPU is
at work on the last. Device and page-locked memory is taken once for each size of frames, and never
for a frame.
"""

from __future__ import annotations

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
from edge.tensorrt.lane import Lane, Slot
from edge.tensorrt.owner import GpuOwner
from edge.tensorrt.record import DEFAULT_PRECISION, Machine, Shape, machine_of
from edge.tensorrt.session import INPUT, Spans, version
from edge.tensorrt.store import Engines, EngineStore, OneEngine
from edge.types import Batch, Box, Evidence, Image, PixelFormat

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda

Work = Callable[["Cuda"], list[Evidence]]

MOST_LANES = 3
"""Sizes of frames whose engines are held at once; the one not used for longest goes."""


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

    def __init__(
        self,
        engines: Engines,
        manifest: Manifest,
        mapped: bool | None = None,
    ) -> None:
        self.manifest = manifest
        self._engines = engines
        self._mapped = mapped
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
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
        """Score uint8 [N, H, W, 3] BGR frames; see `Backend.infer`.

        Raises:
            EngineError: there is no engine for this size, or TensorRT refuses.
            GpuError: the GPU failed.
        """
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
        as_it_is = pixel_format == "bgr" and _size(whole.boxes[0]) == whole.input_hw
        give = self._give_cut if as_it_is else self._give_whole
        parts = [give(part, image) for part in whole.parts(MAX_BATCH)]
        return Pending(whole.boxes, whole.input_hw, parts)

    def spans(self, shape: Shape, longest_s: float = 3.0) -> Spans:
        """Where the time of a frame goes with the engine for a shape, measured for so long."""
        lane = self._lane(shape.batch, shape.height, shape.width)
        return self._owner.call(partial(lane.measure, longest_s))

    def chose_zero_copy(self, shape: Shape) -> bool:
        """Whether the GPU reads the frames of that shape from the CPU's memory."""
        return self._lane(shape.batch, shape.height, shape.width).mapped

    def front_pictures(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Batch:
        """What the kernel of the front end makes of a frame; to compare with the CPU's pictures.

        Returns:
            uint8 [N, h, w, 3] BGR.
        """
        geometry = _geometry(image, pixel_format, region)

        def make(cuda: Cuda) -> Batch:
            shape = (len(geometry.boxes), *geometry.input_hw, 3)
            frame, pictures = (cuda.page_locked(s, np.uint8) for s in (image.shape, shape))
            source, target = (cuda.allocate(block.array.nbytes) for block in (frame, pictures))
            frame.array[:] = image
            cuda.copy_in(source.pointer, frame.array)
            self._cut(cuda, geometry, source.pointer, target.pointer)
            cuda.copy_out(pictures.array, target.pointer)
            cuda.synchronize()
            found: Batch = pictures.array.copy()
            for block in (frame, pictures):
                block.free()
            for memory in (source, target):
                memory.free()
            return found

        return self._owner.call(make)

    def _give(self, frames: Batch) -> Future[list[Evidence]]:
        """Take frames as they are."""
        lane = self._lane(len(frames), *frames.shape[1:3])

        def fill(slot: Slot) -> Work:
            slot.memory.frames[: len(frames)] = frames
            return partial(lane.score, slot, slot.memory, len(frames))

        return self._post(lane, fill)

    def _give_cut(self, geometry: _Geometry, image: Image) -> Future[list[Evidence]]:
        """Cut by copying."""
        lane = self._lane(len(geometry.boxes), *geometry.input_hw)

        def fill(slot: Slot) -> Work:
            pairs = zip(slot.memory.frames, geometry.boxes, strict=False)
            for frame, (left, top, right, bottom) in pairs:
                frame[:] = image[top:bottom, left:right]
            return partial(lane.score, slot, slot.memory, len(geometry.boxes))

        return self._post(lane, fill)

    def _give_whole(self, geometry: _Geometry, image: Image) -> Future[list[Evidence]]:
        """Copy the whole frame, and let the GPU cut."""
        lane = self._lane(len(geometry.boxes), *geometry.input_hw)

        def fill(slot: Slot) -> Work:
            if not slot.takes(image):
                self._owner.call(lambda cuda: slot.make_room(cuda, lane.session, image))
            slot.take(image)
            return partial(self._score_whole, lane, slot, geometry)

        return self._post(lane, fill)

    def _post(self, lane: Lane, fill: Callable[[Slot], Work]) -> Future[list[Evidence]]:
        """Fill a slot as soon as one is free, and hand it to the owning thread."""
        slot = lane.free_slots.get()
        try:
            work = fill(slot)

            def run(cuda: Cuda) -> list[Evidence]:
                try:
                    return work(cuda)
                finally:
                    lane.free_slots.put(slot)

            return self._owner.post(run)
        except BaseException:
            lane.free_slots.put(slot)
            raise

    def _score_whole(
        self, lane: Lane, slot: Slot, geometry: _Geometry, cuda: Cuda
    ) -> list[Evidence]:
        memory = slot.made_on_gpu
        assert memory is not None  # make_room took it
        self._cut(cuda, geometry, slot.frame_on_gpu(cuda), memory.addresses()[INPUT])
        return lane.score(slot, memory, len(geometry.boxes), cuda)

    def _cut(self, cuda: Cuda, geometry: _Geometry, frame: int, pictures: int) -> None:
        """Put into the stream what makes pictures of a frame, both on the GPU."""
        if self._front is None:
            self._front = Front(cuda)
        placement = self._front.place(
            geometry.frame_hw, geometry.pixel_format, geometry.boxes, geometry.input_hw
        )
        self._front.run(placement, frame, pictures)

    def _lane(self, batch: int, height: int, width: int) -> Lane:
        shape = Shape(batch=1 if batch == 1 else MAX_BATCH, height=height, width=width)
        name = str(shape)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._open_lane(shape)
            while len(self._lanes) >= MOST_LANES:
                self._owner.call(self._lanes.popitem(last=False)[1].free)
            self._lanes[name] = lane
        self._lanes.move_to_end(name)
        return lane

    def _open_lane(self, shape: Shape) -> Lane:
        while True:
            engine = self._engines.get(self.machine, shape)
            make = partial(Lane, engine=engine, mapped=self._mapped)
            try:
                return self._owner.call(make)
            except StaleEngine:
                if not self._engines.refused(engine):
                    raise

    def _free(self, cuda: Cuda) -> None:
        for lane in self._lanes.values():
            lane.free(cuda)
        self._lanes.clear()
        if self._front is not None:
            self._front.free()


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Frames of a size and format, the parts of them that the model sees, and how large."""

    frame_hw: tuple[int, int]
    pixel_format: PixelFormat
    boxes: Sequence[Box]
    input_hw: tuple[int, int]

    def parts(self, most: int) -> Iterator[_Geometry]:
        """The same with so many boxes at most, one after the other."""
        for start in range(0, len(self.boxes), most):
            yield replace(self, boxes=self.boxes[start : start + most])


def _geometry(image: Image, pixel_format: PixelFormat, region: RegionSpec) -> _Geometry:
    if pixel_format == "nv12":
        refuse_odd(image)
    rows, width = image.shape[:2]
    frame_hw = (rows * 2 // 3 if pixel_format == "nv12" else rows), width
    boxes, input_hw = place(*frame_hw, region)
    return _Geometry(frame_hw, pixel_format, boxes, input_hw)


def _size(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return bottom - top, right - left
