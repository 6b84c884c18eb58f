"""The newest frame of a live source, and when it was captured.

The difference between arrival and a sender's timestamp is the transit time plus an unknown
constant; the smallest one observed is the fastest transit, and what a frame has beyond it is its
age. The fastest transit may rise slowly, as a sender's clock may run a little slow.

Timestamps are trusted as long as they make sense:

- A timestamp that is missing or does not rise says nothing, and the frame counts as new.
- Frames that arrive at the pace of their timestamps and yet late are not late: their sender's clock
  was set back, or stood still while it was stopped. The clock is anchored again.
- Frames that arrive ever later wait in a growing queue, on the way or at the sender. They are
  trusted until no queue is that long, or while the timestamps almost stand still; from then on
  arrival counts, until the timestamps keep pace again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.sources.base import Shot

DRIFT = 500e-6  # how much a sender's clock may run slow; quartz stays within 100 ppm
LATE_S = 0.25  # less is jitter: of the network, of the decoder, of a thread that had to wait
WINDOW_S = 1.5  # how long frames are late before a cause is decided
STEADY = 0.1
"""Share by which the pace of timestamps may differ from that of arrival and still be the same."""

STANDING = 0.25  # timestamps at a lower pace than this are not those of queued frames
MOST_QUEUED_S = 10.0  # nobody queues more video on the way; a longer delay means wrong timestamps
TRUST_S = 5.0  # distrusted timestamps must keep pace for this long
STEP_S = 1e-4
"""Least time from one frame to the next, a little more than a tick of the 90 kHz of video."""


@dataclass(frozen=True, slots=True, eq=False)
class BufferedFrame:
    """A frame that waits to be taken, not converted; as in `edge.types.Frame`."""

    shot: Shot
    index: int
    captured_at: float
    pts_s: float


class LatestFrameBuffer:
    """Holds the newest frame only, and counts as in `edge.sources.live.Health`. Not thread-safe."""

    def __init__(self, max_age_s: float) -> None:
        self.received, self.skipped, self.old = 0, 0, 0
        self.waiting: BufferedFrame | None = None
        self._max_age_s = max_age_s
        self.clock = StreamClock()

    def put(self, shot: Shot, unix_s: float) -> bool:
        """Keep a frame that arrived at this Unix time; False if it was too old to be kept."""
        index, self.received = self.received, self.received + 1
        placed = self.clock.place(shot.arrived_s, shot.pts_s)
        if placed.catching_up and placed.age_s > self._max_age_s:
            self.old += 1
            return False
        self.skipped += self.waiting is not None
        self.waiting = BufferedFrame(shot, index, unix_s - placed.age_s, placed.pts_s)
        return True

    def take(self) -> BufferedFrame | None:
        """The newest frame, once."""
        waiting, self.waiting = self.waiting, None
        return waiting


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a frame belongs."""

    pts_s: float  # from the source's first frame to this one's capture; always rising
    age_s: float  # how late it arrived, from 0
    catching_up: bool  # it arrives faster than it was taken, out of a queue: newer ones follow


class StreamClock:
    """Places the frames of one source, in the order they arrive. Not thread-safe."""

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._last_pts_s = -STEP_S
        self._sender = _SenderClock()

    def reopened(self) -> None:
        """What follows is from another sender; time goes on by arrival."""
        self._sender = _SenderClock()

    def place(self, arrived_s: float, pts_s: float | None) -> Placed:
        """Place one more frame."""
        if self._start_s is None:
            self._start_s = arrived_s
        age_s, catching_up = self._sender.age(arrived_s, pts_s)
        captured_s = arrived_s - age_s - self._start_s
        self._last_pts_s = max(captured_s, self._last_pts_s + STEP_S)
        return Placed(self._last_pts_s, age_s, catching_up)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame of the present sender: when it arrived on our clock, its timestamp, its age."""

    arrived_s: float
    stamp_s: float
    age_s: float = 0.0

    def since(self, earlier: _Arrival) -> tuple[float, float]:
        """Seconds passed from an earlier frame, on our clock and on the sender's."""
        return self.arrived_s - earlier.arrived_s, self.stamp_s - earlier.stamp_s


class _SenderClock:
    """One sender's clock, from when it was opened to when it broke."""

    def __init__(self) -> None:
        self._fastest_s = math.inf  # least difference of arrival and timestamp
        self._last: _Arrival | None = None
        self._late_from: _Arrival | None = None  # where the present window of late frames begins
        self._least_late_s = 0.0  # age of the least late one since frames are late
        self._distrusted_from: _Arrival | None = None

    def age(self, arrived_s: float, stamp_s: float | None) -> tuple[float, bool]:
        """How late a frame is in seconds, and whether it comes out of a queue."""
        if stamp_s is None or not math.isfinite(stamp_s):
            return 0.0, False
        before, now = self._last, _Arrival(arrived_s, stamp_s)
        if before is None or stamp_s <= before.stamp_s:
            return self._anchor(now)
        if self._distrusted_from is not None:
            return self._regain_trust(now, self._distrusted_from)
        transit_s = arrived_s - stamp_s
        drifted_s = self._fastest_s + DRIFT * (arrived_s - before.arrived_s)
        self._fastest_s = min(drifted_s, transit_s)
        now = self._last = _Arrival(arrived_s, stamp_s, transit_s - self._fastest_s)
        if now.age_s < LATE_S:
            self._late_from = None
            return now.age_s, False
        return self._late(now, before)

    def _late(self, now: _Arrival, before: _Arrival) -> tuple[float, bool]:
        since = self._late_from
        if since is None:
            self._late_from, self._least_late_s = now, now.age_s
            # If the sender took several frames in the meantime, they are queued behind this one.
            waited_s, step_s = now.since(before)
            return now.age_s, waited_s > max(LATE_S, 2 * step_s)
        self._least_late_s = min(self._least_late_s, now.age_s)
        took_s, passed_s = now.since(since)
        if took_s >= WINDOW_S:
            self._late_from = now
            if _keeps_pace(took_s, passed_s):
                return self._anchor(now)
            if passed_s < STANDING * took_s or now.age_s > self._least_late_s + MOST_QUEUED_S:
                self._distrusted_from = now
                return 0.0, False
        return now.age_s, passed_s > (1 + STEADY) * took_s

    def _regain_trust(self, now: _Arrival, since: _Arrival) -> tuple[float, bool]:
        self._last = now
        took_s, passed_s = now.since(since)
        if took_s >= TRUST_S:
            self._distrusted_from = now
            if _keeps_pace(took_s, passed_s):
                return self._anchor(now)
        return 0.0, False

    def _anchor(self, now: _Arrival) -> tuple[float, bool]:
        """This frame is new, whatever came before."""
        self._fastest_s = now.arrived_s - now.stamp_s
        self._last = now
        self._late_from = self._distrusted_from = None
        return 0.0, False


def _keeps_pace(took_s: float, passed_s: float) -> bool:
    """Whether timestamps passed as fast as their frames arrived."""
    return abs(passed_s - took_s) <= STEADY * took_s
