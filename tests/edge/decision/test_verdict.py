from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decision.verdict import (
    JUST_ABOVE,
    STILL,
    VerdictSettings,
    VerdictTracker,
    judge_once,
)
from edge.manifest import Calibration

PLAIN = Calibration()
AT_ONCE = VerdictSettings(window_s=0.0, min_evidence_s=0.0, min_frames=1, margin=0.1)
QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.2, min_frames=3, margin=0.1)


def logit_of(score: float) -> float:
    return math.log(score / (1 - score))


def feed(tracker: VerdictTracker, scores: list[float], start: float = 0.0) -> list[str]:
    return [
        tracker.update(start + 0.1 * i, logit_of(score)).state for i, score in enumerate(scores)
    ]


def test_needs_a_minimum_of_frames_and_time_before_it_says_anything() -> None:
    states = feed(VerdictTracker(PLAIN, QUICK), [0.99, 0.99, 0.99, 0.99])
    assert states == ["uncertain", "uncertain", "fake", "fake"]
    tracker = VerdictTracker(PLAIN, QUICK)
    assert {tracker.update(0.01 * i, 9.0).state for i in range(15)} == {"uncertain"}


def test_averages_logits_over_the_window_and_forgets_what_is_older() -> None:
    tracker = VerdictTracker(PLAIN, QUICK)
    for i in range(30):
        tracker.update(0.1 * i, -2.0)
    for i in range(30, 36):
        verdict = tracker.update(0.1 * i, 2.0)
    # The window holds 5 frames of −2 and 6 of +2.
    assert verdict.score == pytest.approx(PLAIN.score(2 / 11))
    for i in range(36, 60):
        verdict = tracker.update(0.1 * i, 2.0)
    assert verdict.score == pytest.approx(PLAIN.score(2.0))
    assert verdict.state == "fake"


def test_does_not_flicker_around_the_threshold() -> None:
    tracker = VerdictTracker(PLAIN, AT_ONCE)
    states = feed(tracker, [0.9, 0.55, 0.52, 0.58, 0.51, 0.55])
    assert states == ["fake"] * 6
    states = feed(tracker, [0.49, 0.52, 0.58, 0.45, 0.55], start=1.0)
    assert states == ["uncertain"] * 5


@pytest.mark.parametrize("every_s", [0.6, 2.0, 9.9])
def test_where_frames_are_rare_the_window_stretches_to_hold_enough(every_s: float) -> None:
    tracker = VerdictTracker(PLAIN, VerdictSettings())
    states = [tracker.update(every_s * i, logit_of(0.9)).state for i in range(6)]
    assert states == ["uncertain"] * 2 + ["fake"] * 4
    for i in range(6, 8 + round(2 / every_s)):  # and forgets all the same
        verdict = tracker.update(every_s * i, logit_of(0.1))
    assert verdict.score is not None and verdict.score < 0.5


def test_the_window_stretches_within_a_bound() -> None:
    tracker = VerdictTracker(PLAIN, VerdictSettings(longest_window_s=10))
    assert {tracker.update(6.0 * i, 5.0).state for i in range(9)} == {"uncertain"}
    lone = VerdictTracker(PLAIN, STILL)
    assert [lone.update(i, logit).state for i, logit in enumerate((5, -5, math.nan))] == [
        "fake",
        "real",
        "uncertain",
    ]


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=60))
def test_never_goes_from_real_to_fake_within_the_band(logits: list[float]) -> None:
    tracker = VerdictTracker(PLAIN, AT_ONCE)
    verdicts = [tracker.update(float(i), logit) for i, logit in enumerate(logits)]
    for verdict in verdicts:
        assert verdict.score is not None
        if verdict.state == "fake":
            assert verdict.score >= 0.5
        if verdict.state == "real":
            assert verdict.score <= 0.5
        if abs(verdict.score - 0.5) > 0.1:
            assert verdict.state != "uncertain"


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_not_finite_is_no_evidence(broken: float) -> None:
    tracker = VerdictTracker(PLAIN, STILL)
    verdict = tracker.update(0.0, broken)
    assert (verdict.state, verdict.score) == ("uncertain", None)
    assert judge_once(PLAIN, broken).state == "uncertain"


def test_a_broken_logit_among_good_ones_changes_nothing_and_is_forgotten_never_real() -> None:
    tracker = VerdictTracker(PLAIN, QUICK)
    feed(tracker, [0.9] * 5)
    assert tracker.update(0.5, math.nan).state == "fake"
    later = [tracker.update(0.6 + 0.1 * i, math.nan) for i in range(20)]
    assert later[-1].state == "uncertain"
    assert "real" not in {verdict.state for verdict in later}


def test_a_clock_that_jumps_back_discards_the_evidence() -> None:
    tracker = VerdictTracker(PLAIN, QUICK)
    assert feed(tracker, [0.9] * 5, start=9.1)[-1] == "fake"
    assert tracker.update(0.0, 5.0).state == "uncertain"


def test_calibration_moves_the_score_and_the_threshold_decides() -> None:
    calibration = Calibration(temperature=2.0, bias=4.0, threshold=0.8)
    assert calibration.score(4.0) == 0.5
    assert (calibration.score(1e6), calibration.score(-1e6)) == (1.0, 0.0)
    assert calibration.score(6.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert judge_once(calibration, 6.0).state == "uncertain"
    assert judge_once(calibration, 3.0).state == "real"
    assert judge_once(calibration, 9.0).state == "fake"


def test_a_picture_above_the_threshold_is_fake_and_a_film_from_the_margin_on() -> None:
    calibration = Calibration(threshold=0.7)
    alone = VerdictTracker(calibration, STILL)
    assert alone.update(0.0, logit_of(0.714)).state == "fake"
    watched = VerdictTracker(calibration, QUICK)  # its margin is 0.1
    verdicts = [watched.update(at / 10, logit_of(0.75)) for at in range(6)]
    assert {verdict.state for verdict in verdicts} == {"uncertain"}
    assert [verdict.reason for verdict in verdicts][-1] == JUST_ABOVE
    assert verdicts[0].reason is None  # there is not enough evidence yet
    assert watched.update(9.0, logit_of(0.9)).reason is None


def test_a_score_that_leans_fake_is_never_called_real() -> None:
    careful = Calibration(threshold=0.9)
    states = {round(s, 2): judge_once(careful, logit_of(s)).state for s in (0.3, 0.6, 0.85, 0.95)}
    assert states == {0.3: "real", 0.6: "uncertain", 0.85: "uncertain", 0.95: "fake"}
    eager = Calibration(threshold=0.2)
    assert [judge_once(eager, logit_of(s)).state for s in (0.1, 0.3)] == ["real", "fake"]


@pytest.mark.parametrize("threshold", [0.02, 0.98])
def test_both_states_can_be_reached_at_an_extreme_threshold(threshold: float) -> None:
    calibration = Calibration(threshold=threshold)
    assert judge_once(calibration, 20.0, margin=0.1).state == "fake"
    assert judge_once(calibration, -20.0, margin=0.1).state == "real"
