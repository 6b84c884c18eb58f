"""Timing in rounds that go over all candidates in turn, so that a drifting machine favours none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.section import Row, Tick
from benchmarks.stats import bootstrap_ratio, percentiles

VISIT_S = 0.02
"""A visit repeats a short call for about this long."""

REST_S = 0.002
"""Before each timed call, so that threads which still spin have gone to sleep."""


@dataclass(slots=True, eq=False)
class Candidate:
    """Something to be timed.

    Attributes:
        most_calls: timed calls of one visit at most.
        prepare: settings of the process that a call needs; not timed.
        calls_s: seconds of every timed call; none is removed.
        rounds_s: round → the median of its calls, in seconds.
    """

    label: str
    call: Callable[[], object]
    most_calls: int = 10
    prepare: Callable[[], object] = lambda: None
    calls_s: list[float] = field(default_factory=list)
    rounds_s: dict[int, float] = field(default_factory=dict)

    def visit(self, index: int) -> None:
        """One round: an untimed call, since the caches are another candidate's, then timed ones."""
        self.prepare()
        self.call()
        taken: list[float] = []
        while not taken or (sum(taken) < VISIT_S and len(taken) < self.most_calls):
            time.sleep(REST_S)
            start = time.perf_counter()
            self.call()
            taken.append(time.perf_counter() - start)
        self.calls_s += taken
        self.rounds_s[index] = median(taken)


def run_rounds(
    candidates: Sequence[Candidate],
    until: float,
    tick: Tick,
    order: random.Random | None = None,
) -> None:
    """Visit all candidates in turn until another round would not fit; one round in any case.

    Args:
        candidates: what to time.
        until: `time.perf_counter()` at which to be done.
        tick: called after each visit.
        order: draws a new order for each round; the given one if None.
    """
    first = max((max(c.rounds_s, default=-1) for c in candidates), default=-1) + 1
    for index in range(first, 1_000_000):
        began = time.perf_counter()
        for candidate in order.sample(candidates, len(candidates)) if order else candidates:
            candidate.visit(index)
            tick(candidate.label)
        now = time.perf_counter()
        if now + (now - began) > until:
            break


def timing(candidate: Candidate) -> Row:
    """The figures of a visited candidate: percentiles and extremes over every timed call, their
    number `repeats`, and `samples_ms`, the median of each round.
    """
    calls_ms = [seconds * 1e3 for seconds in candidate.calls_s]
    return {
        **{f"{name}_ms": value for name, value in percentiles(calls_ms).items()},
        "best_ms": min(calls_ms),
        "max_ms": max(calls_ms),
        "repeats": len(calls_ms),
        "rounds": len(candidate.rounds_s),
        "samples_ms": [round(seconds * 1e3, 5) for seconds in candidate.rounds_s.values()],
    }


def ratio_of_rounds(
    own_s: Mapping[int, float], base_s: Mapping[int, float], seed: int
) -> tuple[float | None, float | None, float | None]:
    """Median over rounds of own time / baseline's time in the same round, with its 95 % interval:
    (ratio, low, high), or three None where no round has both.
    """
    ratios = [own_s[index] / base_s[index] for index in own_s if index in base_s]
    return bootstrap_ratio(ratios, [1.0], seed) if ratios else (None, None, None)
