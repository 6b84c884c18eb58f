"""Stop signals end a run cleanly: files are finished first; a second signal does no harm."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_PATIENCE = 3
"""The signal, counted from the first, that abandons the files."""


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; carries the exit code that the shell convention gives it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class _Gate:
    """The signals received, and whether they must wait; one, as signals belong to the process."""

    def __init__(self) -> None:
        self.received = 0
        self.closed = 0
        self.waiting: Stopped | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.received += 1
        if 1 < self.received < _PATIENCE:
            sys.stderr.write("patchwatch: finishing the files; once more to abandon them\n")
        elif self.closed and self.received < _PATIENCE:
            self.waiting = Stopped(number)
        else:
            raise Stopped(number)


_gate = _Gate()
_hangups = 0


def hangup_count() -> int:
    """How many SIGHUP came so far; what keeps a file open that others rotate opens it again."""
    return _hangups


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Stopped`, and ignore one that follows.

    The second prints that files are being finished; the third abandons them. Must be entered in
    the main thread.
    """
    global _gate
    _gate = _Gate()
    previous = {n: signal.signal(n, _gate.handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def hangups(reread: Callable[[], None]) -> Iterator[None]:
    """Call a function at SIGHUP, which asks a service to open its logs and read its configuration.

    Where a terminal has gone away the same signal means what it always did there, and stops the
    run. Must be entered in the main thread, inside `stop_signals`.

    Args:
        reread: must be short; it runs between any two steps of the main thread.
    """
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    had_terminal = _has_terminal()

    def handle(number: int, frame: FrameType | None) -> None:
        global _hangups
        if had_terminal and not _has_terminal():
            _gate.handle(number, frame)
        else:
            _hangups += 1
            reread()

    previous = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)


def _has_terminal() -> bool:
    try:
        return os.isatty(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, replaced or absent
        return False


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a stop signal wait until the block is done, as a half-written packet spoils a file.

    For short blocks. Outside `stop_signals` it does nothing, nor in other threads than the main
    one, which signals do not reach.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    gate = _gate
    gate.closed += 1
    try:
        yield
    finally:
        gate.closed -= 1
    if gate.waiting is not None and not gate.closed:
        waiting, gate.waiting = gate.waiting, None
        raise waiting
