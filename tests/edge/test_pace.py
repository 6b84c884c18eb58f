from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pace import LONGEST_GAP_S, FrameClock, Pacer


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def shown_at(pts: list[float | None], work_s: float, skips: bool = False) -> list[float]:
    clock, times = Clock(), []
    pacer = Pacer(clock.now, clock.sleep, skips)
    for stamp in pts:
        if not pacer.wait(stamp):
            continue
        times.append(round(clock.time - 100, 6))
        clock.time += work_s
    return times


def test_frames_are_shown_at_the_speed_of_the_recording() -> None:
    assert shown_at([0.0, 0.1, 0.2, 0.5], work_s=0.01) == [0.0, 0.1, 0.2, 0.5]


def test_a_machine_too_slow_is_not_held_back_and_does_not_rush_later() -> None:
    times = shown_at([0.1 * i for i in range(10)], work_s=0.2)
    assert times == [round(0.2 * i, 6) for i in range(10)]


def test_what_comes_too_late_is_skipped_where_it_may_be() -> None:
    times = shown_at([0.1 * i for i in range(100)], work_s=0.25, skips=True)
    assert 9.5 < times[-1] <= 10.4 and 35 <= len(times) <= 45
    # No faster than that however slow it is: something is seen every second.
    slow = shown_at([0.01 * i for i in range(100)], work_s=1.5, skips=True)
    assert slow == [round(1.5 * i, 6) for i in range(100)]
    assert shown_at([None, None], work_s=9, skips=True) == [0, 9]


def test_a_gap_in_the_recording_is_not_sat_through() -> None:
    assert shown_at([0.0, 900.0, 900.1], work_s=0.0) == [0.0, 0.0, 0.1]


def test_a_source_without_times_is_not_held_back() -> None:
    assert shown_at([None] * 3, work_s=0.0) == [0.0] * 3


UNIX = 1_700_000_000.0
Stamp = tuple[float | None, float]


def placed(stamps: list[Stamp], usual_s: float = 0.0) -> list[float]:
    clock = FrameClock(usual_s)
    return [clock.place("door", pts, at) for pts, at in stamps]


STEPS: dict[str, tuple[list[float], list[float]]] = {
    "steady": ([0, 0.5, 1.0], [0, 0.5, 1.0]),
    "a long silence is kept": ([0, 0.5, 600.5], [0, 0.5, 600.5]),
    "equal, or a little back, then on time again": ([0, 0.5, 0.4, 1.0], [0, 0.5, 0.5, 1.0]),
    "back to the start": ([0, 50.0, 0, 0.5], [0, 50.0, 50.1, 50.6]),
    "from 1970 to today": ([10, 10.5, UNIX, UNIX + 0.5], [0, 0.5, 0.6, 1.1]),
    "not a number": ([0, math.nan, 1.0], [0, 0.1, 0.2]),
}


@pytest.mark.parametrize(("stamps", "expected"), STEPS.values(), ids=STEPS.keys())
@pytest.mark.parametrize("clock", ["pts", "captured_at"])
def test_one_time_for_frames(clock: str, stamps: list[float], expected: list[float]) -> None:
    either: list[Stamp] = [(at, UNIX) if clock == "pts" else (None, at) for at in stamps]
    assert placed(either, 0.1) == pytest.approx(expected, abs=1e-4)


def test_silence_between_frames_and_a_system_clock_that_is_set_while_they_come() -> None:
    silence: list[Stamp] = [(5.0, UNIX), (None, UNIX + 4), (15.0, UNIX + 10), (15.5, UNIX + 10.5)]
    assert placed(silence) == pytest.approx([0, 4, 10, 10.5])
    assert placed([(5.0, UNIX), (5.5, UNIX - 1e6), (6.0, UNIX + 1e6)]) == [0, 0.5, 1]


def test_stamps_of_two_sources_are_not_compared() -> None:
    by_capture, by_rate = FrameClock(), FrameClock(0.1, 1.0)
    frames: list[tuple[str, float | None, float]] = [
        ("a", 90.0, UNIX),
        ("b", 0.0, UNIX + 2),
        ("c", None, UNIX + 2),
    ]
    assert [by_capture.place(*frame) for frame in frames] == [0, 2, 2]
    assert [by_rate.place(*frame) for frame in frames] == pytest.approx([0, 0.1, 1.1])


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(st.none() | ANY, ANY), max_size=40))
def test_the_clock_never_falls_nor_leaps(stamps: list[Stamp]) -> None:
    assert all(0 <= b - a <= LONGEST_GAP_S for a, b in itertools.pairwise(placed(stamps)))
