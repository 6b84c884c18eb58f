"""What runs a model file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from typing_extensions import Self

from edge.manifest import Manifest, Precision
from edge.regions import RegionSpec
from edge.tensorrt.store import BuildEngine
from edge.types import Batch, Box, Evidence, Image, PixelFormat

MAX_BATCH = 8
"""Crops given to a model at once; bounds the memory of `tiles` on large frames."""


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """Which backend, and its settings; each takes those that mean something to it.

    Attributes:
        name: a row of `edge.backends.BACKENDS`.
        device: what it runs on.
        precision: None for the backend's default.
        threads: per operator on the CPU; None for every core.
        zero_copy: whether the GPU reads frames from the CPU's memory; None to measure it.
        build: builds an engine that does not exist yet; None if nothing can.
        progress: called with the progress of a build, in a few words.
    """

    name: str = "onnxruntime"
    device: str = "cpu"
    precision: Precision | None = None
    threads: int | None = None
    zero_copy: bool | None = None
    build: BuildEngine | None = None
    progress: Callable[[str], None] = lambda text: None


class Backend(Protocol):
    """Runs one model file; a context manager that owns its memory.

    Attributes:
        name: for instance "onnxruntime".
        manifest: of the model file.
    """

    name: str
    manifest: Manifest

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Run once on an empty batch of that shape, so that the first real frame is not slow."""
        ...

    def infer(self, frames: Batch, source: str | None = None) -> list[Evidence]:
        """Score a batch.

        Args:
            frames: uint8 [N, H, W, 3] BGR.
            source: name of the source that all of them come from; None if unknown or several.

        Returns:
            N items, in order. Not checked for NaN; the verdict does that.

        Raises:
            ModelError: the runtime refused the batch.
            GpuError: the GPU failed.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A frame that a backend is working on.

    Attributes:
        boxes: the parts of the frame that the model sees, xyxy in pixels of the frame.
        input_hw: height and width at which it sees them.
        parts: their evidence, in order, once it is there.
    """

    boxes: Sequence[Box]
    input_hw: tuple[int, int]
    parts: Sequence[Future[list[Evidence]]]

    def evidence(self) -> list[Evidence]:
        """Wait for the evidence, an item for each box; raises as `Backend.infer` does."""
        return [item for part in self.parts for item in part.result()]


@runtime_checkable
class FrameBackend(Backend, Protocol):
    """A backend that cuts the region out of a frame itself, and works while the caller goes on."""

    def submit(
        self,
        image: Image,
        pixel_format: PixelFormat,
        region: RegionSpec,
        source: str | None = None,
    ) -> Pending:
        """Take a frame; its memory may be used again once this returns.

        Args:
            image: uint8, [H, W, 3] BGR or [H·3/2, W] NV12.
            pixel_format: which of both.
            region: what the model sees of it.
            source: name of the source that it comes from; None if unknown.

        Raises:
            EngineError: there is no engine for frames of this size, and none can be built.
        """
        ...
