"""A task whose workers die; in a module that is quickly imported."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path


class Deadly:
    """A task that dies of -1 each time, and of -2 the first time; else gives what it got."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, batch: Sequence[int]) -> list[int]:
        for number in batch:
            marker = self._folder / str(number)
            if number == -1 or (number == -2 and not marker.exists()):
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return list(batch)
