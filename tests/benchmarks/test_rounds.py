"""Rounds: every candidate in turn, nothing removed, as many ticks as promised."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.rounds import MOST_CALLS, Candidate, run_rounds, timing


def test_a_visit_calls_once_untimed_and_keeps_every_timed_call() -> None:
    calls: list[int] = []
    candidate = Candidate("quick", lambda: calls.append(1))
    candidate.visit()
    assert len(calls) == 1 + MOST_CALLS
    assert len(candidate.calls_s) == MOST_CALLS
    assert len(candidate.rounds_s) == 1


def test_a_long_call_is_timed_once_a_visit() -> None:
    candidate = Candidate("slow", lambda: time.sleep(0.03))
    candidate.visit()
    assert len(candidate.calls_s) == 1


def test_rounds_go_over_all_candidates_in_turn() -> None:
    order: list[str] = []

    def slow(name: str) -> Callable[[], None]:
        def call() -> None:
            order.append(name)
            time.sleep(0.03)

        return call

    candidates = [Candidate(name, slow(name)) for name in "ab"]
    run_rounds(candidates, time.perf_counter() + 0.4, lambda _: None, 3)
    rounds = len(candidates[0].rounds_s)
    assert rounds >= 2
    assert order == ["a", "a", "b", "b"] * rounds


def test_without_time_there_is_one_round_and_all_ticks() -> None:
    ticks: list[str] = []
    candidate = Candidate("only", lambda: None)
    run_rounds([candidate], time.perf_counter() - 1, ticks.append, 5)
    assert len(candidate.rounds_s) == 1
    assert ticks == ["only"] * 5


def test_timing_gives_median_best_and_a_sample_for_each_round() -> None:
    candidate = Candidate("x", lambda: None, [0.003, 0.001, 0.002], [0.002])
    assert timing(candidate) == {
        "p50_ms": 2.0,
        "best_ms": 1.0,
        "repeats": 3,
        "rounds": 1,
        "samples_ms": [2.0],
    }
