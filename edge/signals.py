"""A stop signal ends a run cleanly: files are finished first, and impatience does not harm them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; carries the exit code that the shell convention gives it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Stopped`, and ignore one that follows.

    The second says that files are being finished; the third gives up on them. Must be entered in
    the main thread.
    """
    received = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 2:
            sys.stderr.write("patchwatch: finishing the files; once more abandons them\n")
            return
        raise Stopped(number)

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
