from __future__ import annotations

from edge.pace import Pacer


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def shown_at(pts: list[float | None], work_s: float) -> list[float]:
    clock, times = Clock(), []
    pacer = Pacer(clock.now, clock.sleep)
    for stamp in pts:
        pacer.wait(stamp)
        times.append(round(clock.time - 100, 6))
        clock.time += work_s
    return times


def test_frames_are_shown_at_the_speed_of_the_recording() -> None:
    assert shown_at([0.0, 0.1, 0.2, 0.5], work_s=0.01) == [0.0, 0.1, 0.2, 0.5]


def test_a_machine_too_slow_is_not_held_back_and_does_not_rush_later() -> None:
    times = shown_at([0.1 * i for i in range(10)], work_s=0.2)
    assert times == [round(0.2 * i, 6) for i in range(10)]


def test_a_gap_in_the_recording_is_not_sat_through() -> None:
    assert shown_at([0.0, 900.0, 900.1], work_s=0.0) == [0.0, 0.0, 0.1]


def test_a_source_without_times_is_not_held_back() -> None:
    assert shown_at([None] * 3, work_s=0.0) == [0.0] * 3
