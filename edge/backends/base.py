"""What runs a model file."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

from typing_extensions import Self

from edge.manifest import Manifest
from edge.regions import RegionSpec
from edge.types import Batch, Box, Evidence, Image, PixelFormat

MAX_BATCH = 8
"""Crops given to a model at once; bounds the memory of `tiles` on large frames."""


class Backend(Protocol):
    """Runs one model file; a context manager that owns its memory.

    Attributes:
        name: for instance "onnxruntime".
        manifest: what the model file says of itself.
    """

    name: str
    manifest: Manifest

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Run once on an empty batch of that shape, so that the first real frame is not slow."""
        ...

    def infer(self, frames: Batch) -> list[Evidence]:
        """Score a batch.

        Args:
            frames: uint8 [N, H, W, 3] BGR.

        Returns:
            N items, in order. Not checked for NaN; the verdict does that.

        Raises:
            ModelError: the runtime refused the batch.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A frame that a backend was given and is at work on.

    Attributes:
        boxes: the parts of the frame that the model sees, xyxy in pixels of the frame.
        input_hw: height and width at which it sees them.
        parts: their evidence, in order, once it is there.
    """

    boxes: Sequence[Box]
    input_hw: tuple[int, int]
    parts: Sequence[Future[list[Evidence]]]

    def evidence(self) -> list[Evidence]:
        """Wait for the evidence, an item for each box.

        Raises:
            ModelError: the runtime refused.
            GpuError: the GPU failed.
        """
        return [item for part in self.parts for item in part.result()]


@runtime_checkable
class FrameBackend(Backend, Protocol):
    """A backend that cuts the region out of a frame itself, and works while the caller goes on."""

    def submit(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Pending:
        """Take a frame; its memory may be used again once this returns.

        Args:
            image: uint8, [H, W, 3] BGR or [H·3/2, W] NV12.
            pixel_format: which of both.
            region: what the model shall see of it.

        Raises:
            EngineError: there is no engine for frames of this size, and none can be built.
        """
        ...
