from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from edge.decision.alerts import AlertSettings, AlertTracker, Event, unix_time
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


INCIDENTS: dict[str, tuple[list[Sample], list[tuple[float, float]]]] = {
    "too short": (steady("fake", 0, 1) + steady("real", 1, 9), []),
    "just long enough": ([(0, "fake"), (1, "fake"), (2, "real"), (50, "real")], [(0, 2)]),
    "one too short begins nothing": (
        [(0, "fake"), (2, "real"), (3, "fake"), (3.5, "fake"), (3.75, "real")],
        [],
    ),
    "back within the cooldown": (
        [(0, "fake"), (1, "fake"), (2, "real"), (11.75, "fake"), (12, "real"), (22, "real")],
        [(0, 12)],
    ),
    "back at its end": (
        [(0, "fake"), (1, "fake"), (2, "real"), (12, "fake"), (13, "fake")],
        [(0, 2), (12, 1)],
    ),
    "short, where one is open": ([(0, "fake"), (5, "fake"), (6, "uncertain")], [(0, 6)]),
}


@pytest.mark.parametrize(("samples", "expected"), INCIDENTS.values(), ids=INCIDENTS.keys())
def test_events_are_the_incidents_of_the_definition(
    samples: list[Sample], expected: list[tuple[float, float]]
) -> None:
    events = follow(SETTINGS, samples)
    ended = [event for event in events if event.over]
    assert [(e.began - UNIX, e.duration_s) for e in ended] == [
        pytest.approx(each, abs=1e-6) for each in expected
    ]
    assert [e.id for e in events if not e.over] == [e.id for e in ended]


def test_the_time_of_a_frame_that_has_none() -> None:
    frame = Frame(np.zeros((1, 1, 3), np.uint8), 0, 5.0, "door")
    assert unix_time(frame) == 5.0
    assert unix_time(replace(frame, captured_at=math.nan)) > UNIX
