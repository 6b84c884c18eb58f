"""What a process holds, again and again, and whether it grows."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

WARM_UP_S = 60.0
WARM_UP_SHARE = 1 / 3
MOST_MOMENTS = 300
"""Of a long run so many are compared with each other."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds at one moment.

    Attributes:
        rss_mb: resident memory, 10⁶ bytes.
        files: open file descriptors.
        threads: threads.
    """

    rss_mb: float
    files: int
    threads: int


@dataclass(slots=True)
class Growth:
    """Watches this process; each second costs eight bytes in each of two rows."""

    _process: psutil.Process = field(default_factory=psutil.Process)
    _at_s: array[float] = field(default_factory=lambda: array("d"))
    _rss_mb: array[float] = field(default_factory=lambda: array("d"))

    def held(self) -> Held:
        """What it holds now."""
        with self._process.oneshot():
            rss_mb = self._process.memory_info().rss / 1e6
            return Held(rss_mb, self._process.num_fds(), self._process.num_threads())

    def note(self, at_s: float) -> Held:
        """Keep the memory of now, `at_s` seconds into the run."""
        held = self.held()
        self._at_s.append(at_s)
        self._rss_mb.append(held.rss_mb)
        return held

    def slope_mb_per_h(self, warm_up_s: float) -> float | None:
        """Over what came after the warm-up; None of fewer than three moments."""
        rows = [(t, m) for t, m in zip(self._at_s, self._rss_mb, strict=True) if t >= warm_up_s]
        return slope_per_h([t for t, _ in rows], [m for _, m in rows]) if len(rows) > 2 else None

    def samples_mb(self, most: int = 120) -> list[float]:
        """Evenly spaced ones of the memories that were noted, at most so many."""
        step = max(1, -(-len(self._rss_mb) // most))
        return [round(value, 2) for value in self._rss_mb[::step]]


def warm_up_s(seconds: float) -> float:
    """How much of a run is left out: a minute, or a third of a short one."""
    return min(WARM_UP_S, WARM_UP_SHARE * seconds)


def slope_per_h(at_s: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs (Theil and Sen), in units of the values per hour.

    Memory comes in steps, of a frame's size for instance, when a hole in it is too small. Of these
    one weighs little here, where least squares would take it for growth; steps that come again and
    again weigh what they are.
    """
    step = max(1, len(at_s) // MOST_MOMENTS)
    times, found = (np.asarray(row[::step], np.float64) for row in (at_s, values))
    first, second = np.triu_indices(len(times), 1)
    slopes = (found[second] - found[first]) / (times[second] - times[first])
    return float(np.median(slopes) * 3600)
