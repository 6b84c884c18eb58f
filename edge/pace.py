"""Holds a recording back to the speed at which it was recorded, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.types import Frame

LAG_S = 0.25
"""Further behind than this, the clock is set anew instead of rushing to catch up."""

LONGEST_WAIT_S = 5.0
"""A longer step is a gap in the recording, which nobody wants to sit through."""


class Pacer:
    """Waits until a frame is due, by presentation times and a clock that starts with the first.

    Args:
        now: a monotonic clock in seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._zero: float | None = None

    def wait(self, frame: Frame) -> None:
        """Return when the frame is due; at once where it has no presentation time."""
        if frame.pts is None:
            return
        now = self._now()
        if self._zero is None:
            self._zero = now - frame.pts
        ahead_s = self._zero + frame.pts - now
        if not -LAG_S <= ahead_s <= LONGEST_WAIT_S:
            self._zero = now - frame.pts
        elif ahead_s > 0:
            self._sleep(ahead_s)
