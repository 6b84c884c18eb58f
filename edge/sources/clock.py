"""When a live frame was captured, from when it arrived and from what its sender says.

A sender's stamps tell how far apart its frames were taken, on a clock of its own. The difference
between arrival and stamp is the way from there to here plus an unknown constant; the smallest one
seen is the quickest way, and what a frame has beyond it is how late it is, its age. The measure of
the quickest way rises slowly, so that a sender's clock that runs a little slow does not look like
frames that get old.

Stamps are believed as long as they make sense:

- A stamp that is missing or does not rise says nothing, and the frame counts as new.
- Frames that arrive at the pace of their stamps and yet late are not late: their sender's clock was
  set back, or stood still while it was stopped. The clock is anchored anew.
- Frames that get ever later wait in a queue that grows, on the way or at the sender. They are
  believed until no queue is that long, or where the stamps stand almost still; from then on arrival
  counts, until the stamps keep pace again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DRIFT = 500e-6
"""By how much a sender's clock may run slow; quartz stays within 100 ppm."""

LATE_S = 0.25
"""Less is jitter: of the network, of the decoder, of a thread that had to wait."""

WINDOW_S = 1.5
"""Frames are late for so long before it is judged what that means."""

STEADY = 0.1
"""Share by which the pace of stamps may differ from that of arrival and still be the same pace."""

STANDING = 0.25
"""Stamps of a lower pace are not those of frames that queue."""

MOST_QUEUED_S = 10.0
"""Nobody queues more video on the way; whoever falls further behind gives wrong stamps."""

TRUST_S = 5.0
"""Stamps that were not believed must keep pace for so long."""

STEP_S = 1e-4
"""Least time from one frame to the next, a little more than a tick of the 90 kHz of video."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a frame belongs.

    Attributes:
        pts_s: seconds from the source's first frame to this one's capture; always rising.
        age_s: how late it came, from 0.
        catching_up: whether it comes faster than it was taken, out of a queue: newer ones follow.
    """

    pts_s: float
    age_s: float
    catching_up: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """A frame of the present sender.

    Attributes:
        arrived_s: on our clock.
        stamp_s: on the sender's.
        age_s: as it was judged.
    """

    arrived_s: float
    stamp_s: float
    age_s: float = 0.0


class StreamClock:
    """Places the frames of one source, in the order they arrive. Not thread-safe."""

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._last_pts_s = -STEP_S
        self._sender = _Sender()

    def reopened(self) -> None:
        """What comes next is from another sender; time goes on by arrival."""
        self._sender = _Sender()

    def place(self, arrived_s: float, pts_s: float | None) -> Placed:
        """Place one more frame.

        Args:
            arrived_s: on a clock that never falls.
            pts_s: the sender's stamp in seconds, from any start; None where it gives none.
        """
        if self._start_s is None:
            self._start_s = arrived_s
        age_s, catching_up = self._sender.age(arrived_s, pts_s)
        captured_s = arrived_s - age_s - self._start_s
        self._last_pts_s = max(captured_s, self._last_pts_s + STEP_S)
        return Placed(self._last_pts_s, age_s, catching_up)


class _Sender:
    """One sender's clock, from when it was opened to when it broke."""

    def __init__(self) -> None:
        self._quickest_s = math.inf  # least difference of arrival and stamp
        self._last: _Seen | None = None
        self._late_from: _Seen | None = None  # where the present window of late frames begins
        self._least_late_s = 0.0  # age of the least late one since frames are late
        self._distrusted_from: _Seen | None = None

    def age(self, arrived_s: float, stamp_s: float | None) -> tuple[float, bool]:
        """How late a frame is in seconds, and whether it comes out of a queue."""
        if stamp_s is None or not math.isfinite(stamp_s):
            return 0.0, False
        before = self._last
        if before is None or stamp_s <= before.stamp_s:
            return self._anchor(arrived_s, stamp_s)
        if self._distrusted_from is not None:
            return self._regain_trust(_Seen(arrived_s, stamp_s), self._distrusted_from)
        way_s = arrived_s - stamp_s
        drifted_s = self._quickest_s + DRIFT * (arrived_s - before.arrived_s)
        self._quickest_s = min(drifted_s, way_s)
        seen = self._last = _Seen(arrived_s, stamp_s, way_s - self._quickest_s)
        if seen.age_s < LATE_S:
            self._late_from = None
            return seen.age_s, False
        return self._late(seen, before)

    def _late(self, seen: _Seen, before: _Seen) -> tuple[float, bool]:
        since = self._late_from
        if since is None:
            self._late_from, self._least_late_s = seen, seen.age_s
            # If the sender took several frames in the meantime, they are queued behind this one.
            waited_s, step_s = seen.arrived_s - before.arrived_s, seen.stamp_s - before.stamp_s
            return seen.age_s, waited_s > max(LATE_S, 2 * step_s)
        self._least_late_s = min(self._least_late_s, seen.age_s)
        took_s, passed_s = seen.arrived_s - since.arrived_s, seen.stamp_s - since.stamp_s
        if took_s >= WINDOW_S:
            self._late_from = seen
            if _keeps_pace(took_s, passed_s):
                return self._anchor(seen.arrived_s, seen.stamp_s)
            if passed_s < STANDING * took_s or seen.age_s > self._least_late_s + MOST_QUEUED_S:
                self._distrusted_from = seen
                return 0.0, False
        return seen.age_s, passed_s > (1 + STEADY) * took_s

    def _regain_trust(self, seen: _Seen, since: _Seen) -> tuple[float, bool]:
        self._last = seen
        took_s, passed_s = seen.arrived_s - since.arrived_s, seen.stamp_s - since.stamp_s
        if took_s >= TRUST_S:
            self._distrusted_from = seen
            if _keeps_pace(took_s, passed_s):
                return self._anchor(seen.arrived_s, seen.stamp_s)
        return 0.0, False

    def _anchor(self, arrived_s: float, stamp_s: float) -> tuple[float, bool]:
        """This frame is new, whatever was seen before."""
        self._quickest_s = arrived_s - stamp_s
        self._last = _Seen(arrived_s, stamp_s)
        self._late_from = self._distrusted_from = None
        return 0.0, False


def _keeps_pace(took_s: float, passed_s: float) -> bool:
    """Whether stamps passed as quickly as their frames arrived."""
    return abs(passed_s - took_s) <= STEADY * took_s
