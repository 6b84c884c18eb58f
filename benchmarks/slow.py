"""A real model that takes as long as it would on a smaller machine."""

from __future__ import annotations

import time
from typing import Any

from edge.backends.base import Backend
from edge.types import Batch, Evidence


class SlowBackend:
    """Asks another backend, open, and answers only after `least_s` seconds for each frame."""

    def __init__(self, backend: Backend, least_s: float) -> None:
        self._backend: Any = backend
        self._least_s = least_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def infer(self, frames: Batch, source: str | None = None) -> list[Evidence]:
        """As the other does, and late."""
        until = time.monotonic() + len(frames) * self._least_s
        evidence: list[Evidence] = self._backend.infer(frames, source)
        time.sleep(max(0.0, until - time.monotonic()))
        return evidence
