"""A live stream in a process of its own, and the clock that its pictures show."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.end_to_end.clips import FPS, Size
from benchmarks.end_to_end.stamp import TURN_US

_SENDER = "benchmarks.end_to_end.sender"


def now_us() -> int:
    """The clock that server and watcher share: monotonic since boot, microseconds modulo 2⁴⁰."""
    return time.monotonic_ns() // 1000 % TURN_US


@contextmanager
def live_stream(size: Size, fps: float = FPS) -> Iterator[str]:
    """Serve in a process of its own.

    Yields:
        The address.

    Raises:
        RuntimeError: the process ended before it served.
    """
    command = [sys.executable, "-m", _SENDER]
    command += ["--size", f"{size.width}x{size.height}", "--fps", f"{fps:g}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            if not address:
                raise RuntimeError("the local RTSP server ended before it served.")
            yield address
        finally:
            process.kill()
