"""One small thread that calls back at given times, while any call is registered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_JOIN_S = 1.0


class Timer:
    """Calls back at given times.

    A thread inside a blocking call cannot watch its own time, and whoever polls a source may be
    busy for long; neither is needed for a source to go on. One thread is enough for all sources,
    since each call is short.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._times: dict[Callable[[], None], float] = {}
        self._members: set[Callable[[], None]] = set()
        self._thread: threading.Thread | None = None

    def join(self, call: Callable[[], None]) -> None:
        """Register a call."""
        with self._changed:
            self._members.add(call)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="patchwatch-timer", daemon=True
                )
                self._thread.start()

    def leave(self, call: Callable[[], None]) -> None:
        """Remove a call; one in progress goes on."""
        with self._changed:
            self._members.discard(call)
            self._times.pop(call, None)
            self._changed.notify_all()
            last = None if self._members else self._thread
        if last is not None and last is not threading.current_thread():
            last.join(_JOIN_S)

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call after this delay, or earlier if that was requested already."""
        at_s = time.monotonic() + max(0.0, delay_s)
        with self._changed:
            if call in self._members and at_s < self._times.get(call, threading.TIMEOUT_MAX):
                self._times[call] = at_s
                self._changed.notify_all()

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            for call in due:
                try:
                    call()
                except Exception:  # one that fails must not block the others
                    log.exception("a source could not be served in time")

    def _wait(self) -> list[Callable[[], None]] | None:
        """The calls that are due; None once none is left."""
        with self._changed:
            while self._members:
                now_s = time.monotonic()
                due = [call for call, at_s in self._times.items() if at_s <= now_s]
                if due:
                    for call in due:
                        del self._times[call]
                    return due
                self._changed.wait(min(self._times.values(), default=now_s + 60) - now_s)
            self._thread = None
            return None


SHARED = Timer()
"""Of all sources in this process."""
