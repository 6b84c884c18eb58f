"""An engine with memory for two frames: one on the GPU, one being taken in."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import numpy as np

from edge.tensorrt.cache import Engine
from edge.tensorrt.session import Memory, Session, Spans, quicker_mapped
from edge.types import Evidence, Image

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda, DeviceMemory, HostMemory

DEPTH = 2
"""Frames in hand at once."""


class Slot:
    """One frame's memory: for what is cut by copying, and for whole frames that a kernel cuts."""

    def __init__(self, cuda: Cuda, session: Session, mapped: bool) -> None:
        self.done = cuda.event()
        self.memory = session.memory(mapped)
        self.made_on_gpu: Memory | None = None
        self._mapped = mapped
        self._frame: HostMemory | None = None
        self._frame_on_gpu: DeviceMemory | None = None

    def takes(self, image: Image) -> bool:
        """Whether there is room for whole frames of this size."""
        return self._frame is not None and self._frame.array.shape == image.shape

    def make_room(self, cuda: Cuda, session: Session, image: Image) -> None:
        """Take memory for whole frames of this size, in place of what was there."""
        self._free_frame()
        self._frame = cuda.page_locked(image.shape, np.uint8, self._mapped)
        if self._frame.pointer is None:
            self._frame_on_gpu = cuda.allocate(image.nbytes)
        if self.made_on_gpu is None:
            self.made_on_gpu = session.memory(self._mapped, made_on_gpu=True)

    def take(self, image: Image) -> None:
        """Copy a whole frame in; by the caller's thread, which has the slot."""
        assert self._frame is not None  # make_room came before
        self._frame.array[:] = image

    def frame_on_gpu(self, cuda: Cuda) -> int:
        """The frame's address on the GPU, its copy put into the stream where one is needed."""
        assert self._frame is not None  # make_room came before
        if self._frame_on_gpu is None:
            assert self._frame.pointer is not None  # it is mapped
            return self._frame.pointer
        cuda.copy_in(self._frame_on_gpu.pointer, self._frame.array)
        return self._frame_on_gpu.pointer

    def free(self) -> None:
        """Give all of it back."""
        self._free_frame()
        self.memory.free()
        if self.made_on_gpu is not None:
            self.made_on_gpu.free()

    def _free_frame(self) -> None:
        for block in (self._frame, self._frame_on_gpu):
            if block is not None:
                block.free()
        self._frame = self._frame_on_gpu = None


class Lane:
    """One engine with its slots; made, used and freed on the owning thread."""

    def __init__(self, cuda: Cuda, engine: Engine, mapped: bool | None) -> None:
        key = engine.sidecar.key
        where = str(engine.path or f"engine of {engine.sidecar.manifest.name}")
        self.session = Session(cuda, engine.plan, key.shape, where)
        self._slots: list[Slot] = []
        try:
            self.mapped = quicker_mapped(cuda, self.session) if mapped is None else mapped
            for _ in range(DEPTH):
                self._slots.append(Slot(cuda, self.session, self.mapped))
        except BaseException:
            self.free(cuda)
            raise
        self.free_slots: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self._slots:
            self.free_slots.put(slot)

    def score(self, slot: Slot, memory: Memory, count: int, cuda: Cuda) -> list[Evidence]:
        """Run the first frames of a slot and wait for them once."""
        self.session.run(memory, count)
        slot.done.record()
        slot.done.wait()
        return memory.evidence(count)

    def measure(self, longest_s: float, cuda: Cuda) -> Spans:
        """Time one slot's memory, while no frame is in hand."""
        return self.session.measure(self._slots[0].memory, longest_s=longest_s)

    def free(self, cuda: Cuda) -> None:
        """Give back memory and engine; what was queued before has been done by then."""
        for slot in self._slots:
            slot.free()
        self.session.free()
