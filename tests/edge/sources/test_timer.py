from __future__ import annotations

import threading
import time

import pytest

from edge.sources.timer import Timer
from tests.edge.sources.clips import wait_until


class Calls:
    """Notes when somebody was called."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.called = threading.Event()

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        self.called.set()


def timer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "patchwatch-timer"]


def test_each_is_called_when_its_time_has_come_and_once() -> None:
    timer, early, late = Timer(), Calls(), Calls()
    began = time.monotonic()
    timer.join(early)
    timer.join(late)
    timer.after(0.3, late)
    timer.after(0.1, early)
    assert late.called.wait(20)
    assert early.times[0] - began >= 0.1
    assert late.times[0] - began >= 0.3
    assert (len(early.times), len(late.times)) == (1, 1)
    timer.leave(early)
    timer.leave(late)


def test_the_earliest_time_that_was_asked_for_counts() -> None:
    timer, calls = Timer(), Calls()
    timer.join(calls)
    timer.after(600, calls)
    timer.after(0.01, calls)
    timer.after(600, calls)
    assert calls.called.wait(20)
    timer.leave(calls)


def test_one_thread_runs_for_all_and_only_while_there_is_somebody() -> None:
    timer, one, other = Timer(), Calls(), Calls()
    before = len(timer_threads())
    timer.join(one)
    timer.join(other)
    assert len(timer_threads()) == before + 1
    timer.leave(one)
    assert len(timer_threads()) == before + 1
    timer.leave(other)
    assert len(timer_threads()) == before
    timer.join(one)
    timer.after(0, one)
    assert one.called.wait(20)
    timer.leave(one)
    assert len(timer_threads()) == before


def test_who_left_is_not_called() -> None:
    timer, gone, here = Timer(), Calls(), Calls()
    timer.join(gone)
    timer.join(here)
    timer.after(0.05, gone)
    timer.leave(gone)
    timer.after(0.01, gone)
    timer.after(0.1, here)
    assert here.called.wait(20)
    assert gone.times == []
    timer.leave(here)


def test_who_is_called_may_ask_to_be_called_again() -> None:
    timer, times = Timer(), list[float]()

    def again() -> None:
        times.append(time.monotonic())
        timer.after(0.01, again)

    timer.join(again)
    timer.after(0, again)
    wait_until(lambda: len(times) >= 5)
    timer.leave(again)


def test_one_that_goes_wrong_does_not_keep_the_others_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    timer, calls = Timer(), Calls()

    def wrong() -> None:
        raise ZeroDivisionError

    timer.join(wrong)
    timer.join(calls)
    timer.after(0, wrong)
    timer.after(0.05, calls)
    assert calls.called.wait(20)
    assert "could not be served" in caplog.text
    timer.leave(wrong)
    timer.leave(calls)
