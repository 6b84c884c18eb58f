"""A real model that takes as long as it would on a smaller machine."""

from __future__ import annotations

import time

from typing_extensions import Self

from edge.backends.base import Backend
from edge.types import Batch, Evidence


class SlowBackend:
    """Asks another backend, and answers only after so long for each frame.

    Args:
        backend: open; it is closed by whoever opened it.
        least_s: seconds for each frame.
    """

    def __init__(self, backend: Backend, least_s: float) -> None:
        self.name = backend.name
        self.manifest = backend.manifest
        self._backend = backend
        self._least_s = least_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """As the other does."""
        self._backend.warm_up(height, width, batch)

    def infer(self, frames: Batch, source: str | None = None) -> list[Evidence]:
        """As the other does, and late."""
        until = time.monotonic() + len(frames) * self._least_s
        evidence = self._backend.infer(frames, source)
        time.sleep(max(0.0, until - time.monotonic()))
        return evidence
