"""Where a live source's newest frame waits to be taken; a newer one takes its place."""

from __future__ import annotations

from dataclasses import dataclass

from edge.sources.capture import Shot
from edge.sources.clock import StreamClock


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A frame that nobody took yet, not converted.

    Attributes:
        shot: as it came.
        index: its position, counting every frame that came.
        captured_at: estimated Unix time of its capture, seconds.
        pts_s: seconds since the source's first frame; always rising.
    """

    shot: Shot
    index: int
    captured_at: float
    pts_s: float


class Slot:
    """Holds one frame at most. Not thread-safe.

    Args:
        max_age_s: what is older, in a burst that catches up, is passed over.

    Attributes:
        received: frames that came.
        skipped: of them, those that a newer one replaced before they were taken.
        old: of them, those that were passed over because of their age.
        waiting: the newest; None if it was taken.
    """

    def __init__(self, max_age_s: float) -> None:
        self.received = 0
        self.skipped = 0
        self.old = 0
        self.waiting: Waiting | None = None
        self._max_age_s = max_age_s
        self._clock = StreamClock()

    def reopened(self) -> None:
        """What comes next is from another capture, whose presentation times start anywhere."""
        self._clock.reopened()

    def put(self, shot: Shot, unix_s: float) -> bool:
        """Keep a frame that came.

        Args:
            shot: the frame.
            unix_s: Unix time of its arrival.

        Returns:
            False if it was too old, and was not kept.
        """
        index, self.received = self.received, self.received + 1
        placed = self._clock.place(shot.arrived_s, shot.pts_s)
        if placed.catching_up and placed.age_s > self._max_age_s:
            self.old += 1
            return False
        self.skipped += self.waiting is not None
        self.waiting = Waiting(shot, index, unix_s - placed.age_s, placed.pts_s)
        return True

    def take(self) -> Waiting | None:
        """The newest frame, once."""
        waiting, self.waiting = self.waiting, None
        return waiting
