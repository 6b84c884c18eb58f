"""Holds a recording back to the speed at which it was recorded, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Callable

LAG_S = 0.25  # when further behind than this, the clock is reset instead of rushing to catch up
LONGEST_WAIT_S = 5.0  # a longer step is a gap in the recording, which nobody wants to sit through


class Pacer:
    """Waits until a frame is due, by presentation times and a clock that starts with the first.

    Args:
        now: a monotonic clock in seconds.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._zero_s: float | None = None

    def wait(self, pts: float | None) -> None:
        """Return when the frame of this presentation time is due; at once without one."""
        if pts is None:
            return
        now_s = self._now()
        if self._zero_s is None:
            self._zero_s = now_s - pts
        ahead_s = self._zero_s + pts - now_s
        if not -LAG_S <= ahead_s <= LONGEST_WAIT_S:
            self._zero_s = now_s - pts
        elif ahead_s > 0:
            self._sleep(ahead_s)
