from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sources.base import Shot
from edge.sources.latest import MOST_QUEUED_S, LatestFrameBuffer, Placed, StreamClock
from edge.types import Image

Stamped = tuple[float, float | None]
"""When a frame arrived, and its sender's stamp."""

ARRIVAL_S = 5_000.0
SENDER_S = 123.0


def place(frames: Iterable[Stamped], clock: StreamClock | None = None) -> list[Placed]:
    clock = clock or StreamClock()
    return [clock.place(arrived_s, stamp_s) for arrived_s, stamp_s in frames]


def steady(seconds: float, fps: float = 30.0, pace: float = 1.0) -> list[Stamped]:
    """Frames that arrive as they are taken; `pace` is that of their stamps."""
    count = round(seconds * fps)
    return [(ARRIVAL_S + i / fps, SENDER_S + pace * i / fps) for i in range(count)]


def shifted(
    frames: Sequence[Stamped], arrival_s: float = 0.0, stamp_s: float = 0.0
) -> list[Stamped]:
    return [(a + arrival_s, s + stamp_s) for a, s in frames if s is not None]


def ages(placed: Iterable[Placed]) -> list[float]:
    return [each.age_s for each in placed]


def test_a_steady_sender_keeps_its_own_distances_whatever_the_way_adds() -> None:
    draw = random.Random(1)
    frames = [(a + draw.uniform(0, 0.04), s) for a, s in steady(20)]
    placed = place([(ARRIVAL_S, SENDER_S), *frames[1:]])
    assert max(ages(placed)) < 0.06
    distances = [b.pts_s - a.pts_s for a, b in pairwise(placed)]
    assert all(abs(distance - 1 / 30) < 0.01 for distance in distances)
    assert not any(each.catching_up for each in placed)


@pytest.mark.parametrize("fps", [30.0, 5.0, 1.0])
def test_a_sender_that_stood_still_with_its_clock_is_new_again_within_two_seconds(
    fps: float,
) -> None:
    before = steady(10, fps)
    after = shifted(steady(10, fps), 10 + 20, 10)  # twenty seconds that its stamps do not show
    place(before, clock := StreamClock())
    placed = place(after, clock)
    within_s = max(2.0, 2 / fps)
    late = [p for p, (a, _) in zip(placed, after, strict=True) if a >= ARRIVAL_S + 30 + within_s]
    assert late
    assert set(ages(late)) == {0.0}
    # Only the first could be the head of a queue; what follows is not to be dropped for its age.
    assert [each.catching_up for each in placed[1:]] == [False] * (len(placed) - 1)
    assert late[0].pts_s > 30


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 3.0, -3.0, 86_400.0 * 365, -86_400.0 * 365])
def test_a_clock_that_is_set_makes_no_frame_old_for_long(jump_s: float) -> None:
    placed = place(steady(5) + shifted(steady(5), 5, 5 + jump_s))
    assert max(ages(placed)) < 0.05
    assert placed[-1].pts_s == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(
    "stamp",
    [
        lambda i: SENDER_S,
        lambda i: SENDER_S - i / 30,
        lambda i: SENDER_S + 10 * i / 30,
        lambda i: math.nan,
        lambda i: math.inf,
        lambda i: None,
        lambda i: SENDER_S + (i % 7) * 1000.0,
    ],
    ids=["constant", "backwards", "ten times too fast", "nan", "inf", "none", "jumping"],
)
def test_where_stamps_make_no_sense_arrival_counts(stamp: object) -> None:
    assert callable(stamp)
    placed = place([(a, stamp(i)) for i, (a, _) in enumerate(steady(60))])
    assert set(ages(placed)) == {0.0}
    assert placed[-1].pts_s == pytest.approx(60 - 1 / 30, abs=0.01)
    assert not any(each.catching_up for each in placed)


def test_a_queue_that_grows_is_believed_until_no_queue_is_that_long() -> None:
    # A link that carries 24 of 30 frames per second: each comes later than the one before.
    frames = [(ARRIVAL_S + i / 24, SENDER_S + i / 30) for i in range(24 * 120)]
    found = ages(place(frames))
    assert found[24 * 30] == pytest.approx(0.2 * 30, abs=0.1)
    assert max(found) < MOST_QUEUED_S + 2
    assert set(found[-24 * 30 :]) == {0.0}


def test_stamps_that_keep_pace_again_are_trusted_again() -> None:
    slow, right = steady(10, pace=0.1), shifted(steady(20), 10, 10)
    place([*slow, *right], clock := StreamClock())
    (stalled,) = place([(ARRIVAL_S + 33, SENDER_S + 30.03)], clock)
    assert stalled.age_s == pytest.approx(3, abs=0.1)


def test_after_a_reconnection_time_goes_on_by_arrival() -> None:
    clock = StreamClock()
    place(steady(5), clock)
    clock.reopened()
    placed = place(shifted(steady(5), 12, -1e6), clock)
    assert set(ages(placed)) == {0.0}
    assert [p.pts_s for p in placed] == pytest.approx([12 + i / 30 for i in range(150)])


ODD = st.one_of(st.none(), st.floats(), st.floats(-1e4, 1e4), st.just(SENDER_S))
GAP_S = st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 100))


@settings(deadline=None)
@given(st.lists(st.tuples(GAP_S, ODD, st.booleans()), min_size=1, max_size=60))
def test_whatever_a_sender_says_time_rises_and_ages_make_sense(
    frames: list[tuple[float, float | None, bool]],
) -> None:
    clock, arrived_s, last_s = StreamClock(), ARRIVAL_S, -1.0
    for gap_s, stamp_s, reopened in frames:
        arrived_s += gap_s
        if reopened:
            clock.reopened()
        placed = clock.place(arrived_s, stamp_s)
        assert math.isfinite(placed.pts_s)
        assert placed.pts_s > last_s
        assert 0 <= placed.age_s < math.inf
        # Never ahead of arrival, but for the least step of frames that came in one moment.
        assert placed.pts_s <= arrived_s - ARRIVAL_S + 0.01
        last_s = placed.pts_s


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 10**6),
    st.floats(0.2, 60),
    st.floats(-300e-6, 300e-6),
    st.floats(0, 0.1),
    st.floats(-1e6, 1e6),
)
def test_no_honest_sender_has_old_frames(
    seed: int, fps: float, drift: float, jitter_s: float, start_s: float
) -> None:
    draw = random.Random(seed)
    clock = StreamClock()
    for i in range(300):
        placed = clock.place(i / fps + draw.uniform(0, jitter_s), start_s + i / fps * (1 + drift))
        assert placed.age_s <= jitter_s + 0.01
        assert not placed.catching_up


@settings(deadline=None, max_examples=50)
@given(st.floats(1, 60), st.floats(2, 60), st.floats(1.5, 20))
def test_every_queue_is_caught_up_with_its_true_ages(
    stall_s: float, fps: float, pace: float
) -> None:
    clock = StreamClock()
    place(steady(10, fps), clock)
    step_s, arrived_s = 1 / fps, 10 + stall_s
    for i in range(round(10 * fps), round(10 * fps) + 2000):
        taken_s = i * step_s
        arrived_s = max(arrived_s, taken_s)
        placed = clock.place(ARRIVAL_S + arrived_s, SENDER_S + taken_s)
        assert placed.age_s == pytest.approx(arrived_s - taken_s, abs=0.1)
        arrived_s += step_s / pace
    if taken_s > 10 + stall_s * (1 + 1 / (pace - 1)) + 5:
        assert placed.age_s < 0.01


def shot(arrived_s: float, pts_s: float | None) -> Shot:
    def image() -> Image:
        raise AssertionError("nobody converts a frame but who takes it")

    return Shot(arrived_s, pts_s, image)


def test_the_newest_frame_takes_the_place_of_the_one_before() -> None:
    buffer = LatestFrameBuffer(max_age_s=1.0)
    assert buffer.take() is None
    for index in range(5):
        assert buffer.put(shot(10 + index, float(index)), unix_s=1_000.0 + index)
    assert (buffer.received, buffer.skipped, buffer.old) == (5, 4, 0)
    waiting = buffer.take()
    assert waiting is not None
    assert (waiting.index, waiting.captured_at, waiting.pts_s) == (4, 1_004.0, 4.0)
    assert buffer.take() is None
    assert buffer.put(shot(15, 5.0), unix_s=1_005.0)
    assert (buffer.received, buffer.skipped) == (6, 4), "what was taken was not skipped"


def test_what_waited_in_a_queue_is_passed_over_until_it_is_new_again() -> None:
    buffer = LatestFrameBuffer(max_age_s=1.0)
    for index in range(60):  # 2 s at 30 frames per second
        buffer.put(shot(index / 30, index / 30), unix_s=1_000 + index / 30)
    buffer.take()
    kept = []
    for index in range(60, 450):  # then nothing for 10 s, and all of it at once, at 300 per second
        arrived_s = max(12 + (index - 60) / 300, index / 30)
        if buffer.put(shot(arrived_s, index / 30), unix_s=1_000 + arrived_s):
            waiting = buffer.take()
            assert waiting is not None
            kept.append(arrived_s - (waiting.captured_at - 1_000))
    assert buffer.old == 390 - len(kept) > 250
    assert (buffer.received, buffer.skipped) == (450, 59)
    assert len(kept) > 50
    assert max(kept) <= 1.0
    assert kept[-1] < 0.1


def test_a_late_frame_that_nothing_waits_behind_is_kept() -> None:
    buffer = LatestFrameBuffer(max_age_s=1.0)
    buffer.put(shot(0.0, 0.0), unix_s=1_000.0)
    assert buffer.put(shot(8.0, 5.0), unix_s=1_008.0), "3 s late, and the newest there is"
    late = buffer.take()
    assert late is not None
    assert late.captured_at == pytest.approx(1_005.0, abs=0.1)


def test_in_an_hour_nothing_older_than_two_inferences_is_scored() -> None:
    """Thirty frames a second, jittered on the way; a model that takes a third of a second."""
    buffer, draw = LatestFrameBuffer(max_age_s=1.0), random.Random(0)
    inference_s, last_s, free_s, errors, ages_s = 1 / 3, 0.0, 0.0, [], []
    for index in range(3600 * 30):
        arrived_s = max(last_s, index / 30 + draw.uniform(0, 0.02))
        while free_s <= arrived_s and (taken := buffer.take()) is not None:
            free_s = max(free_s, last_s) + inference_s
            assert taken.shot.pts_s is not None
            ages_s.append(free_s - taken.shot.pts_s)
            errors.append(abs(taken.captured_at - taken.shot.pts_s))
        last_s = arrived_s
        buffer.put(shot(arrived_s, index / 30), unix_s=arrived_s)
    assert len(ages_s) > 3600 / inference_s * 0.97
    assert max(ages_s) < 2 * inference_s
    assert max(errors) < 0.025
    assert (buffer.received, buffer.skipped + len(ages_s)) == (108_000, 107_999)
