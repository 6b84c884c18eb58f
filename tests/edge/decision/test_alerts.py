from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decision.alerts import (
    LONGEST_GAP_S,
    AlertSettings,
    AlertTracker,
    Event,
    SteadyClock,
    unix_time,
)
from edge.decision.verdict import VerdictSettings, VerdictTracker
from edge.manifest import Calibration
from edge.types import Frame, State, Verdict

UNIX = 1_700_000_000.0
SETTINGS = AlertSettings(states=("fake",), debounce_s=1.0, cooldown_s=10.0)

Sample = tuple[float, State]


def follow(
    settings: AlertSettings, samples: Iterable[Sample], score: float | None = 0.9
) -> list[Event]:
    """All events of verdicts at times, to the end."""
    tracker = AlertTracker(settings)
    events: list[Event] = []
    for time_s, state in samples:
        events += tracker.update(time_s, Verdict(state, score), UNIX + time_s)
    return events + tracker.finish()


def over(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.over]


def steady(state: State, start: float, end: float, step: float = 0.1) -> list[Sample]:
    """Verdicts from `start` on up to before `end`."""
    return [(start + i * step, state) for i in range(round((end - start) / step))]


def test_an_incident_is_one_event_raised_once_it_lasted_and_over_once_it_was_away() -> None:
    tracker = AlertTracker(SETTINGS)
    events = {}
    samples = steady("real", 0, 5) + steady("fake", 5, 8) + steady("real", 8, 20)
    for time_s, state in samples:
        score = 0.7 + time_s / 100 if state == "fake" else 0.1
        for event in tracker.update(time_s, Verdict(state, score), UNIX + time_s):
            events[round(time_s, 3)] = event
    assert list(events) == [6.0, 18.0]
    raised, ended = events.values()
    assert (raised.state, raised.over, raised.ended) == ("fake", False, None)
    assert raised.began == pytest.approx(UNIX + 5)
    assert raised.raised == pytest.approx(UNIX + 6)
    assert raised.duration_s == pytest.approx(1.0)
    assert raised.score == raised.highest_score == pytest.approx(0.76)
    assert (ended.id, ended.over, ended.score) == (raised.id, True, raised.score)
    assert ended.duration_s == pytest.approx(3.0)
    assert ended.ended == pytest.approx(UNIX + 8)
    assert ended.highest_score == pytest.approx(0.779)


def test_events_that_are_over_come_before_those_raised() -> None:
    settings = AlertSettings(states=("no_signal", "fake", "fake"), debounce_s=0.0, cooldown_s=0.0)
    events = follow(settings, [(0.0, "fake"), (1.0, "no_signal"), (2.0, "fake")], score=None)
    states = ("fake", "no_signal", "fake")
    assert [(e.state, e.over) for e in events] == list(itertools.product(states, (False, True)))
    assert {(e.score, e.highest_score) for e in events} == {(None, None)}


def test_a_score_that_swings_around_the_threshold_for_ten_minutes_is_one_event() -> None:
    verdicts = VerdictTracker(Calibration(), VerdictSettings())
    # Two seconds of evidence are averaged, so that a swing of eight seconds passes both lines.
    swing = [(i / 10, 1.5 * math.sin(2 * math.pi * i / 80)) for i in range(6000)]
    samples = [(time_s, verdicts.update(time_s, logit).state) for time_s, logit in swing]
    assert sum(a[1] != b[1] for a, b in itertools.pairwise(samples)) > 200
    raised, ended = follow(SETTINGS, samples)
    assert raised.id == ended.id and ended.duration_s > 590


@dataclass
class Expected:
    """An incident by the definition in the text, found with all verdicts at hand."""

    began: float
    away: float


def incidents(
    samples: Sequence[Sample], state: State, debounce_s: float, cooldown_s: float
) -> list[Expected]:
    found: list[Expected] = []
    position = 0
    for is_it, group in itertools.groupby(samples, key=lambda sample: sample[1] == state):
        spell = list(group)
        position += len(spell)
        if not is_it:
            continue
        first, last = spell[0][0], spell[-1][0]
        turned = samples[position][0] if position < len(samples) else last
        if found and first - found[-1].away < cooldown_s:
            found[-1].away = turned
        elif last - first >= debounce_s:
            found.append(Expected(first, turned))
    return found


STATES: tuple[State, ...] = ("real", "fake", "uncertain", "no_signal")
STEPS = st.integers(0, 12).map(lambda quarters: quarters / 4)  # exact, so that limits are met
SAMPLES = st.lists(st.tuples(STEPS, st.sampled_from(STATES)), max_size=60).map(
    lambda steps: list(
        zip(itertools.accumulate(step for step, _ in steps), (s for _, s in steps), strict=True)
    )
)


@given(SAMPLES, st.sampled_from([0.0, 0.25, 1.0, 3.0]), st.sampled_from([0.0, 0.5, 2.0, 5.0]))
def test_events_are_the_incidents_of_the_definition(
    samples: list[Sample], debounce_s: float, cooldown_s: float
) -> None:
    settings = AlertSettings(
        states=("fake", "no_signal"), debounce_s=debounce_s, cooldown_s=cooldown_s
    )
    events = follow(settings, samples)
    for state in settings.states:
        expected = incidents(samples, state, debounce_s, cooldown_s)
        ended = [event for event in over(events) if event.state == state]
        assert [(e.began - UNIX, e.duration_s) for e in ended] == [
            (e.began, e.away - e.began) for e in expected
        ]
        raised = [event.id for event in events if event.state == state and not event.over]
        assert raised == [event.id for event in ended]


def frame(pts: float | None, captured_at: float, source: str = "door") -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), 0, captured_at, source, pts)


def times(frames: Iterable[Frame]) -> list[float]:
    clock = SteadyClock()
    return [clock.place(each) for each in frames]


STAMPS: dict[str, tuple[list[tuple[float | None, float]], list[float]]] = {
    "presentation time": ([(5.0, UNIX), (5.5, UNIX + 9), (7.0, UNIX + 9)], [0, 0.5, 2]),
    "capture time": ([(None, UNIX), (None, UNIX + 2), (None, UNIX + 3)], [0, 2, 3]),
    "silence between frames": (
        [(5.0, UNIX), (None, UNIX + 4), (None, UNIX + 9), (15.0, UNIX + 10), (15.5, UNIX + 10.5)],
        [0, 4, 9, 10, 10.5],
    ),
    "the system's clock is set while frames come": (
        [(5.0, UNIX), (5.5, UNIX - 1e6), (6.0, UNIX + 1e6)],
        [0, 0.5, 1],
    ),
    "it is set back while none come": (
        [(None, UNIX), (None, UNIX - 50), (None, UNIX - 45)],
        [0, 0, 5],
    ),
    "a board without a battery": ([(None, 10.0), (None, 15.0), (None, UNIX)], [0, 5, 5]),
    "no number": ([(None, UNIX), (math.nan, math.nan), (None, UNIX + 1)], [0, 0, 0]),
}


@pytest.mark.parametrize(("stamps", "expected"), STAMPS.values(), ids=STAMPS.keys())
def test_one_time_for_frames_and_placeholders(
    stamps: list[tuple[float | None, float]], expected: list[float]
) -> None:
    assert times(frame(pts, at) for pts, at in stamps) == pytest.approx(expected)


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(st.none() | ANY, ANY), max_size=40))
def test_the_clock_never_falls_nor_leaps(stamps: list[tuple[float | None, float]]) -> None:
    placed = times(frame(pts, at) for pts, at in stamps)
    assert all(0 <= b - a <= LONGEST_GAP_S for a, b in itertools.pairwise(placed))


def test_times_of_two_sources_or_of_no_number() -> None:
    assert times([frame(90.0, UNIX, "a"), frame(0.0, UNIX + 2, "b")]) == [0, 2]
    assert unix_time(frame(None, 5.0)) == 5.0
    assert unix_time(frame(None, math.nan)) > UNIX
