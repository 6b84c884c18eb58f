"""Timing in rounds that go over all candidates in turn, so that a drifting machine favours none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.section import Row, Tick
from benchmarks.stats import median, percentiles

VISIT_S = 0.02
"""A visit repeats a short call for about this long."""

MOST_CALLS = 10


@dataclass(slots=True)
class Candidate:
    """Something to be timed.

    Attributes:
        label: shown as progress.
        call: does it once, and is done when it returns.
        calls_s: seconds of every timed call; none is removed.
        rounds_s: the median of each round's calls, in seconds.
    """

    label: str
    call: Callable[[], object]
    calls_s: list[float] = field(default_factory=list)
    rounds_s: list[float] = field(default_factory=list)

    def visit(self) -> None:
        """One round: an untimed call, since the caches are another candidate's, then timed ones."""
        self.call()
        taken: list[float] = []
        while not taken or (sum(taken) < VISIT_S and len(taken) < MOST_CALLS):
            start = time.perf_counter()
            self.call()
            taken.append(time.perf_counter() - start)
        self.calls_s += taken
        self.rounds_s.append(median(taken))


def run_rounds(candidates: Sequence[Candidate], until: float, tick: Tick, steps: int) -> None:
    """Visit all candidates in turn until another round would not fit; one round in any case.

    Args:
        candidates: what to time.
        until: `time.perf_counter()` at which to be done.
        tick: called `steps` times, evenly over the time.
        steps: how often.
    """
    start = time.perf_counter()
    ticks = 0
    while True:
        round_start = time.perf_counter()
        for candidate in candidates:
            candidate.visit()
            due = steps * (time.perf_counter() - start) / max(until - start, 1e-9)
            while ticks < min(int(due), steps):
                tick(candidate.label)
                ticks += 1
        now = time.perf_counter()
        if now + (now - round_start) > until:
            break
    for _ in range(steps - ticks):
        tick(candidates[-1].label)


def timing(candidate: Candidate) -> Row:
    """The figures of a visited candidate: `p50_ms` and `best_ms` over every timed call, their
    number `repeats`, and `samples_ms`, the median of each round.
    """
    return {
        "p50_ms": percentiles(candidate.calls_s, (50,))["p50"] * 1e3,
        "best_ms": min(candidate.calls_s) * 1e3,
        "repeats": len(candidate.calls_s),
        "rounds": len(candidate.rounds_s),
        "samples_ms": [round(seconds * 1e3, 5) for seconds in candidate.rounds_s],
    }
