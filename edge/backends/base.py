"""What runs a model file."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from edge.manifest import Manifest
from edge.types import Batch, Evidence


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
