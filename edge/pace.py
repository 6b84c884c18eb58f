"""The time of frames: a recording held back to its own speed, and one clock of many stamps."""

from __future__ import annotations

import time
from collections.abc import Callable

LAG_S = 0.25  # when further behind than this, the clock is reset instead of rushing to catch up
LONGEST_BLANK_S = 1.0  # without a frame shown, though all come too late
LONGEST_WAIT_S = 5.0  # a longer step is a gap in the recording, which nobody wants to sit through

LONGEST_GAP_S, JITTER_S = 3600.0, 1.0
"""A longer step, or one further back, is a clock that was set or a source that started again."""


class Pacer:
    """Waits until a frame is due, by presentation times and a clock that starts with the first.

    Args:
        now: a monotonic clock in seconds.
        sleep: waits for a number of seconds.
        skips: frames that come too late are not wanted, as long as others are shown.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        skips: bool = False,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self._skips = skips
        self._zero_s: float | None = None
        self._shown_s = 0.0

    def wait(self, pts: float | None) -> bool:
        """Return when the frame of this presentation time is due; at once without one.

        Returns:
            Whether it is wanted.
        """
        if pts is None:
            return True
        now_s = self._now()
        if self._zero_s is None:
            self._zero_s = now_s - pts
        ahead_s = self._zero_s + pts - now_s
        if self._skips and ahead_s < -LAG_S and now_s - self._shown_s < LONGEST_BLANK_S:
            return False
        if not -LAG_S <= ahead_s <= LONGEST_WAIT_S:
            self._zero_s = now_s - pts
        elif ahead_s > 0:
            self._sleep(ahead_s)
        self._shown_s = self._now()
        return True


class FrameClock:
    """One time, which never falls, of the stamps of frames that need not be so.

    It follows presentation times, and capture times from or to a frame that has none, such as a
    placeholder without signal. Gaps are kept, for in a live recording they are real. A step too
    long, or too far back, is a clock that was set or a source that started again: it counts as
    `usual_s`. A stamp a little back counts as none, and what follows is on time again.

    Args:
        usual_s: seconds.
        still_s: from one picture that stands alone to the next; None: by their capture times.
    """

    def __init__(self, usual_s: float = 0.0, still_s: float | None = None) -> None:
        self._usual_s = usual_s
        self._still_s = still_s
        self._last: tuple[str, float | None, float] | None = None
        self._due_s = self._time_s = 0.0

    def place(self, source: str, pts: float | None, captured_at: float) -> float:
        """The time of the next frame or placeholder, in seconds from the first."""
        last, self._last = self._last, (source, pts, captured_at)
        if last is not None:
            self._due_s += self._step_s(last, self._last)
            self._time_s = max(self._time_s, self._due_s)
        return self._time_s

    def _step_s(
        self, last: tuple[str, float | None, float], now: tuple[str, float | None, float]
    ) -> float:
        (last_source, last_pts, last_at), (source, pts, at) = last, now
        if source != last_source and self._still_s is not None:
            return self._still_s if pts is None else self._usual_s
        by_pts = pts is not None and last_pts is not None and source == last_source
        step_s = pts - last_pts if by_pts else at - last_at  # type: ignore[operator]  # both are there
        return step_s if -JITTER_S < step_s <= LONGEST_GAP_S else self._usual_s
