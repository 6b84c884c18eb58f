"""A CUDA that has no GPU: it says on which threads it was used."""

from __future__ import annotations

import threading
from typing import Any

from typing_extensions import Self

from edge.cuda.base import Gpu

ORIN = Gpu("Orin", (8, 7), True, True, 8 << 30, (12, 6))


class ThreadsOfCuda:
    """Enough of `Cuda` to be entered and left."""

    name = "fake"
    stream = 1
    gpu = ORIN

    def __init__(self, fails: Exception | None = None) -> None:
        self.entered: list[int] = []
        self.left: list[int] = []
        self._fails = fails

    def __enter__(self) -> Self:
        if self._fails is not None:
            raise self._fails
        self.entered.append(threading.get_ident())
        return self

    def __exit__(self, *_: object) -> None:
        self.left.append(threading.get_ident())

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"not expected to be asked for {name}")
