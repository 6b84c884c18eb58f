from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edge.errors import (
    AuthError,
    MissingDependency,
    NetworkError,
    PatchwatchError,
    SourceEnded,
    SourceTimeout,
)
from edge.sources.policy import Limits, ReconnectPolicy
from edge.sources.supervisor import MOST_ABANDONED, Supervisor

LIMITS = Limits(open_s=10, frame_s=5, read_s=30, grace_s=1)
STEADY = ReconnectPolicy(jitter=0)

FAILURES: dict[str, Callable[[], PatchwatchError]] = {
    "refused": lambda: NetworkError("door: the connection was refused."),
    "locked": lambda: AuthError("door: the password is wrong."),
    "broken": lambda: SourceEnded("door: the stream ended."),
    "mute": lambda: SourceTimeout("door: no answer."),
    "lacking": lambda: MissingDependency("OpenCV", "read cameras", "pip install it"),
}


class Door:
    """A supervised source whose time is given in milliseconds."""

    def __init__(self, retry: ReconnectPolicy = STEADY) -> None:
        self.supervisor = Supervisor("door", LIMITS, retry, lambda: 0.5)
        self.notes: list[str] = []

    def step(self, ms: int, event: str) -> str:
        """Let something happen; returns what followed from it."""
        self.happen(event, ms / 1000)
        effects = []
        number = self.supervisor.advance(ms / 1000)
        if number is not None:
            effects.append(f"open {number}")
        silence = self.supervisor.take_silence()
        if silence is not None:
            effects.append(f"silent {silence.fault}")
        self.notes += [text for _, text in self.supervisor.take_notes()]
        return ", ".join(effects)

    def steps(self, events: str) -> None:
        """Let several things happen."""
        for item in events.split(", "):
            ms, _, event = item.partition(" ")
            self.step(int(ms), event)

    def happen(self, event: str, now_s: float) -> None:
        word, _, number = event.partition(" ")
        supervisor = self.supervisor
        if word == "start":
            supervisor.start(now_s)
        elif word == "opened":
            supervisor.opened(int(number), now_s)
        elif word in ("frame", "old"):
            supervisor.frame(int(number), now_s, fresh=word == "frame")
        elif word == "finished":
            supervisor.finished(int(number), now_s)
        elif word == "released":
            supervisor.released(int(number))
        elif word != "tick":
            supervisor.failed(int(number), FAILURES[word](), now_s)

    @property
    def next_ms(self) -> int | None:
        next_s = self.supervisor.next_s
        return None if next_s is None else round(next_s * 1000)


# Milliseconds, event, state after it, when it must be asked again, and what followed.
STORIES = {
    "frames come, stop, and come again": """
           0 | start      | opening   |  5000 | open 1
         200 | opened 1   | opening   |  5000 |
         300 | frame 1    | streaming |  5300 |
        2000 | tick       | streaming |  5300 |
        5299 | tick       | streaming |  5300 |
        5300 | tick       | stalled   | 10300 | silent timeout
       10300 | tick       | stalled   | 15300 | silent timeout
       11000 | frame 1    | streaming | 16000 |
       16000 | tick       | stalled   | 21000 | silent timeout
    """,
    "a read that never returns is left behind": """
           0 | start      | opening   |  5000 | open 1
         200 | opened 1   | opening   |  5000 |
         300 | frame 1    | streaming |  5300 |
       29000 | tick       | stalled   | 31300 | silent timeout
       31299 | tick       | stalled   | 31300 |
       31300 | tick       | waiting   | 32300 |
       32300 | tick       | opening   | 34000 | open 2
       32400 | released 1 | opening   | 34000 |
       32500 | opened 2   | opening   | 34000 |
       32600 | frame 2    | streaming | 37600 |
    """,
    "the first failure is told at once, the next in turn": """
           0 | start      | opening   |  5000 | open 1
          50 | refused 1  | waiting   |  1050 | silent network
          60 | released 1 | waiting   |  1050 |
        1050 | tick       | opening   |  5050 | open 2
        1100 | refused 2  | waiting   |  2100 |
        1110 | released 2 | waiting   |  2100 |
        2100 | tick       | opening   |  5050 | open 3
        5050 | tick       | opening   | 10050 | silent network
    """,
    "what is quickly back was never silent": """
           0 | start      | opening   |  5000 | open 1
         100 | opened 1   | opening   |  5000 |
         200 | frame 1    | streaming |  5200 |
         300 | broken 1   | waiting   |  1300 |
         300 | released 1 | waiting   |  1300 |
        1300 | tick       | opening   |  5200 | open 2
        1400 | opened 2   | opening   |  5200 |
        1500 | frame 2    | streaming |  6500 |
    """,
    "a close that takes its time delays what follows": """
           0 | start      | opening   |  5000 | open 1
         100 | opened 1   | opening   |  5000 |
         200 | frame 1    | streaming |  5200 |
       31199 | tick       | stalled   | 31200 | silent timeout
       31200 | tick       | waiting   | 32200 |
       32200 | tick       | opening   | 36199 | open 2
       32300 | refused 2  | waiting   | 33300 |
       33299 | released 2 | waiting   | 33300 |
       33300 | tick       | opening   | 36199 | open 3
    """,
    "why there is no signal is told, also while it is being closed": """
           0 | start      | opening   |  5000 | open 1
         100 | opened 1   | opening   |  5000 |
         200 | frame 1    | streaming |  5200 |
        4700 | broken 1   | waiting   |  5200 |
        5200 | tick       | waiting   |  5700 | silent ended
        5600 | released 1 | waiting   |  5700 |
        5700 | tick       | opening   | 10200 | open 2
    """,
    "wrong credentials are tried slowly from the first on": """
           0 | start      | opening   |  5000 | open 1
          50 | locked 1   | waiting   |  1050 | silent auth
          60 | released 1 | waiting   |  5050 |
        5050 | tick       | waiting   | 10050 | silent auth
       30000 | tick       | waiting   | 30050 | silent auth
       30050 | tick       | opening   | 35000 | open 2
    """,
    "three calls that never return are enough": """
           0 | start      | opening   |  5000 | open 1
       11000 | tick       | waiting   | 12000 | silent timeout
       12000 | tick       | opening   | 16000 | open 2
       23000 | tick       | waiting   | 24000 | silent timeout
       24000 | tick       | opening   | 28000 | open 3
       35000 | tick       | waiting   | 36000 | silent timeout
       36000 | tick       | stuck     | 40000 |
       40000 | tick       | stuck     | 45000 | silent timeout
      500000 | tick       | stuck     | 505000 | silent timeout
      500010 | released 2 | opening   | 505000 | open 4
      500020 | opened 4   | opening   | 505000 |
      500030 | frame 4    | streaming | 505030 |
    """,
    "what was left behind is not heard": """
           0 | start      | opening   |  5000 | open 1
       11000 | tick       | waiting   | 12000 | silent timeout
       11100 | opened 1   | waiting   | 12000 |
       11200 | frame 1    | waiting   | 12000 |
       11300 | refused 1  | waiting   | 12000 |
       11400 | finished 1 | waiting   | 12000 |
       12000 | tick       | opening   | 16000 | open 2
       12100 | frame 1    | opening   | 16000 |
       12200 | opened 1   | opening   | 16000 |
       12300 | broken 1   | opening   | 16000 |
    """,
    "frames that are too old keep it alive, and are no signal": """
           0 | start      | opening   |  5000 | open 1
          10 | opened 1   | opening   |  5000 |
        4000 | old 1      | opening   |  5000 |
        5000 | tick       | opening   | 10000 | silent timeout
       34000 | old 1      | opening   | 39000 | silent timeout
       64999 | tick       | opening   | 65000 | silent timeout
       65000 | tick       | waiting   | 66000 | silent timeout
    """,
    "a recording ends": """
           0 | start      | opening   |  5000 | open 1
          10 | opened 1   | opening   |  5000 |
          20 | frame 1    | streaming |  5020 |
          30 | finished 1 | ended     |       |
          40 | released 1 | ended     |       |
       99999 | tick       | ended     |       |
    """,
    "a library that is absent does not come by waiting": """
           0 | start      | opening   |  5000 | open 1
          10 | lacking 1  | failed    |       |
       99999 | tick       | failed    |       |
    """,
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_the_stories(story: str) -> None:
    door = Door()
    for line in story.strip().splitlines():
        ms, event, state, next_ms, effects = (part.strip() for part in line.split("|"))
        found = door.step(int(ms), event), door.supervisor.state, door.next_ms
        assert found == (effects, state, int(next_ms) if next_ms else None), line


ENDS = {
    "none at all, at the first": (0, "0 start, 10 refused 1", "refused."),
    "none at all, after frames": (
        0,
        "0 start, 10 opened 1, 20 frame 1, 30 broken 1",
        "the stream ended.",
    ),
    "none at all, when left behind": (0, "0 start, 11000 tick", "no answer within 10 s. Check"),
    "one, of another class": (
        1,
        "0 start, 10 refused 1, 20 released 1, 1010 tick, 1020 locked 2",
        "the password is wrong. Given up after 1 retry.",
    ),
    "two, counted from the last frame on": (
        2,
        "0 start, 10 refused 1, 20 released 1, 1010 tick, 1020 opened 2, 1030 frame 2, "
        "1040 broken 2, 1050 released 2, 2040 tick, 2050 refused 3, 2060 released 3, "
        "3050 tick, 3060 refused 4",
        "refused. Given up after 2 retries.",
    ),
}


@pytest.mark.parametrize(("retries", "events", "message"), ENDS.values(), ids=ENDS.keys())
def test_retries_are_exhausted(retries: int, events: str, message: str) -> None:
    door = Door(ReconnectPolicy(retries=retries, jitter=0))
    followed = ""
    for item in events.split(", "):
        assert door.supervisor.over is None
        ms, _, event = item.partition(" ")
        followed = door.step(int(ms), event)
    assert followed == "", "who is given up is not silent besides"
    assert (door.supervisor.state, door.next_ms) == ("failed", None)
    assert message in str(door.supervisor.failure)
    assert isinstance(door.supervisor.failure, AuthError) == ("password" in message)
    assert door.supervisor.retry_in_s(99) is None
    if retries:
        assert door.notes[0].endswith(f"refused; retrying in 1 s (retry 1 of {retries})")


def waits(door: Door, events: list[str]) -> list[float]:
    """Seconds from each failure to the next try; each event names one, a frame before it if so."""
    found, now_ms = [], 0
    door.step(0, "start")
    for event in events:
        number = door.supervisor.opens
        *before, failure = event.split(" after ")[::-1]
        for word in ("opened", *before) if before else ():
            door.step(now_ms, f"{word} {number}")
        door.step(now_ms, f"{failure} {number}")
        door.step(now_ms, f"released {number}")
        wait_s = door.supervisor.retry_in_s(now_ms / 1000)
        assert wait_s is not None
        found.append(wait_s)
        now_ms += round(wait_s * 1000)
        assert f"open {number + 1}" in door.step(now_ms, "tick")
    return found


def test_waits_grow_with_failures_in_a_row() -> None:
    assert waits(Door(), ["refused"] * 13) == pytest.approx([1] * 5 + [5] * 5 + [30] * 3)


@pytest.mark.parametrize("came", ["frame", "old"])
def test_a_frame_of_any_age_begins_the_waits_anew(came: str) -> None:
    events = [*["refused"] * 7, f"broken after {came}", *["refused"] * 5]
    expected = [1.0] * 5 + [5.0] * 2 + [1.0] + [1.0] * 4 + [5.0]
    assert waits(Door(), events) == pytest.approx(expected)


def test_the_log_tells_a_change_once() -> None:
    door = Door()
    door.steps("0 start, 50 refused 1, 60 released 1, 1050 tick, 1100 opened 2, 1200 frame 2")
    door.steps("1300 frame 2, 1400 frame 2, 6400 tick, 11400 tick, 16400 tick, 18000 frame 2")
    door.steps("18100 broken 2, 18110 released 2, 19100 tick, 19150 opened 3, 31200 frame 3")
    assert door.notes == [
        "door: the connection was refused; retrying in 1 s (retry 1)",
        "door: first frame after 1.2 s",
        "door: no frame for 5 s",
        "door: back after 17 s",
        "door: the stream ended; retrying in 1 s (retry 1)",
        "door: back after 13 s",
    ]


def test_a_long_outage_is_told_five_times_then_each_tenth_time_and_when_it_changes() -> None:
    door = Door()
    waits(door, [*["refused"] * 25, *["mute"] * 3, *["refused"] * 3])
    told = [note.rpartition("(")[2] for note in door.notes]
    tries = [1, 2, 3, 4, 5, 10, 20, 26, 30]
    assert told == [f"retry {number})" for number in tries]


def test_a_source_that_comes_and_goes_does_not_fill_the_log() -> None:
    door = Door()
    waits(door, ["broken after frame"] * 100)
    ended = [note for note in door.notes if "ended" in note]
    back = [note for note in door.notes if "back" in note]
    assert len(ended) == 5 + 10
    assert len(back) == len(ended) - 1  # the last is still away


def test_what_ran_for_a_minute_is_news_again() -> None:
    door = Door()
    waits(door, ["broken after frame"] * 6)
    number, now_ms = door.supervisor.opens, 100_000
    door.step(now_ms, f"opened {number}")
    for ms in range(now_ms, now_ms + 60_001, 1000):
        door.step(ms, f"frame {number}")
    door.notes.clear()
    door.step(now_ms + 60_100, f"broken {number}")
    assert len(door.notes) == 1


def test_jitter_spreads_the_waits() -> None:
    policy = ReconnectPolicy(jitter=0.2)
    assert [policy.wait_s(1, drawn) for drawn in (0.0, 0.5, 1.0)] == pytest.approx([0.8, 1, 1.2])


LIVES = {"open": ("opened", "failed"), "read": ("frame", "old", "failed", "finished")}
"""What a thread can come to next, by what it does; from everything else it only returns."""


class Threads(RuleBasedStateMachine):
    """Captures' threads that do anything in any order and time, also once they were left behind."""

    @initialize(
        retries=st.one_of(st.none(), st.none(), st.integers(0, 4)),
        frame_ms=st.integers(1, 8000),
        read_ms=st.integers(1, 8000),
        open_ms=st.integers(1, 8000),
        grace_ms=st.integers(1, 2000),
    )
    def begin(
        self, retries: int | None, frame_ms: int, read_ms: int, open_ms: int, grace_ms: int
    ) -> None:
        self.limits = Limits(
            open_ms / 1000, frame_ms / 1000, read_ms / 1000, grace_s=grace_ms / 1000
        )
        self.retry = ReconnectPolicy(retries=retries)
        self.supervisor = Supervisor("door", self.limits, self.retry, lambda: 0.5)
        self.now_ms = 0
        self.doing: dict[int, str] = {}  # attempt → what its thread does, until it returned
        self.frame_s: float | None = None
        self.failed_s = -math.inf
        self.failures = 0
        self.supervisor.start(self.now_s)
        self.advance()

    @property
    def now_s(self) -> float:
        return self.now_ms / 1000

    def advance(self) -> None:
        """Ask what is to be done, and check that it may be."""
        supervisor, silent_before = self.supervisor, self.supervisor.silent
        failures_before, abandoned_before = supervisor.failures, supervisor.abandoned
        number = supervisor.advance(self.now_s)
        if supervisor.failures > failures_before:
            assert supervisor.abandoned > abandoned_before
            self.failures, self.failed_s = self.failures + 1, self.now_s
        if supervisor.silent and not silent_before:
            since_s = 0.0 if self.frame_s is None else self.frame_s
            never_spoke = self.frame_s is None and self.failures == 1
            assert never_spoke or self.now_s >= since_s + self.limits.frame_s
        if number is not None:
            assert number not in self.doing
            assert self.now_s >= self.failed_s + self.retry.quick_s or not self.failures
            self.doing[number] = "open"

    @rule(ms=st.integers(1, 40_000))
    def time_passes(self, ms: int) -> None:
        """As an attentive driver lets it pass: asking whenever it said that it must be asked."""
        until_ms = self.now_ms + ms
        while (next_s := self.supervisor.next_s) is not None and next_s * 1000 <= until_ms:
            assert next_s >= self.now_s, "it had something to do already"
            self.now_ms = max(self.now_ms + 1, math.ceil(next_s * 1000 - 1e-6))
            self.advance()
        self.now_ms = max(self.now_ms, until_ms)
        self.advance()

    @rule(ms=st.integers(1, 200_000))
    def nobody_asks_for_long(self, ms: int) -> None:
        self.now_ms += ms
        self.advance()

    @precondition(lambda self: self.doing)
    @rule(data=st.data())
    def a_thread_goes_on(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.doing)))
        event = data.draw(st.sampled_from(LIVES.get(self.doing[number], ("released",))))
        getattr(self, event)(number)
        self.advance()

    def opened(self, number: int) -> None:
        heard = self.supervisor.opened(number, self.now_s)
        self.doing[number] = "read" if heard else "close"

    def frame(self, number: int, fresh: bool = True) -> None:
        before = self.supervisor.heeds(number)
        assert self.supervisor.frame(number, self.now_s, fresh) == before
        if not before:
            self.doing[number] = "close"
        elif fresh:
            self.frame_s = self.now_s
            assert self.supervisor.failures == 0
            assert not self.supervisor.silent

    def old(self, number: int) -> None:
        self.frame(number, fresh=False)

    def failed(self, number: int) -> None:
        before = self.supervisor.failures
        error = AuthError("door: no.") if number % 3 == 0 else NetworkError("door: no.")
        self.supervisor.failed(number, error, self.now_s)
        if self.supervisor.failures > before:
            self.failures, self.failed_s = self.failures + 1, self.now_s
        self.doing[number] = "close"

    def finished(self, number: int) -> None:
        self.supervisor.finished(number, self.now_s)
        self.doing[number] = "close"

    def released(self, number: int) -> None:
        self.supervisor.released(number)
        del self.doing[number]

    @invariant()
    def its_state_is_true_and_it_says_when_to_ask_again(self) -> None:
        if not hasattr(self, "doing"):
            return
        assert self.supervisor.abandoned <= MOST_ABANDONED
        assert len(self.doing) - self.supervisor.abandoned <= 1, "one is live"
        next_s = self.supervisor.next_s
        assert (next_s is None) == (self.supervisor.over is not None)
        assert next_s is None or next_s > self.now_s
        state, frame_s = self.supervisor.state, self.frame_s
        if state == "streaming":
            assert frame_s is not None and self.now_s < frame_s + self.limits.frame_s
        if state == "stalled":
            assert frame_s is not None and self.now_s >= frame_s + self.limits.frame_s
        if state == "stuck":
            assert self.supervisor.abandoned == MOST_ABANDONED
        if state == "failed":
            assert self.retry.retries is not None
            assert self.supervisor.failures == self.retry.retries + 1
        waits = self.supervisor.retry_in_s(self.now_s) is not None
        assert waits == (state == "waiting")


Threads.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestThreads = Threads.TestCase
