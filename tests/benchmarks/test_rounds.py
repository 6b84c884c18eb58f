"""Rounds: every candidate in turn, nothing removed, a tick for each visit."""

from __future__ import annotations

import random
from functools import partial

from benchmarks.rounds import Candidate, ratio_of_rounds, run_rounds, timing


def test_a_visit_calls_once_untimed_and_keeps_every_timed_call() -> None:
    calls: list[int] = []
    candidate = Candidate("quick", lambda: calls.append(1))
    candidate.visit(0)
    assert len(calls) == 1 + len(candidate.calls_s) > 2
    assert len(candidate.rounds_s) == 1


def test_timing_gives_median_best_and_a_sample_for_each_round() -> None:
    calls_s, rounds_s = [0.003, 0.001, 0.002], {0: 0.002}
    timed = timing(Candidate("x", lambda: None, calls_s=calls_s, rounds_s=rounds_s))
    assert (timed["p50_ms"], timed["best_ms"], timed["max_ms"]) == (2.0, 1.0, 3.0)
    assert (timed["repeats"], timed["rounds"], timed["samples_ms"]) == (3, 1, [2.0])


def test_the_ratio_is_that_of_the_same_round() -> None:
    ratio, low, high = ratio_of_rounds({0: 1.0, 1: 20.0, 7: 5.0}, {0: 2.0, 1: 40.0}, seed=0)
    assert (ratio, low, high) == (0.5, 0.5, 0.5)
    assert ratio_of_rounds({0: 1.0}, {1: 1.0}, seed=0) == (None, None, None)


def test_each_round_has_an_order_of_its_own_and_counts_on() -> None:
    visits: list[str] = []
    ticks: list[str] = []
    candidates = [Candidate(name, partial(visits.append, name), most_calls=1) for name in "abc"]
    order = random.Random(1)
    for _ in range(8):
        run_rounds(candidates, 0, ticks.append, order)
    rounds = ["".join(visits[i : i + 6 : 2]) for i in range(0, len(visits), 6)]
    assert {"".join(sorted(one)) for one in rounds} == {"abc"} and len(set(rounds)) > 2
    assert list(candidates[0].rounds_s) == list(range(8))
    assert ticks == visits[::2]  # a visit calls once untimed
