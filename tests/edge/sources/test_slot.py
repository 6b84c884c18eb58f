from __future__ import annotations

import pytest

from edge.sources.capture import Shot
from edge.sources.slot import Slot, Waiting
from edge.types import Image
from tests.fakes import grey


def shot(arrived_s: float, pts_s: float | None) -> Shot:
    def image() -> Image:
        raise AssertionError("nobody converts a frame but who takes it")

    return Shot(arrived_s, pts_s, image)


def taken(slot: Slot) -> Waiting:
    waiting = slot.take()
    assert waiting is not None
    return waiting


def test_the_newest_frame_takes_the_place_of_the_one_before() -> None:
    slot = Slot(max_age_s=1.0)
    assert slot.take() is None
    for index in range(5):
        assert slot.put(shot(10 + index, float(index)), unix_s=1_000.0 + index)
    assert (slot.received, slot.skipped, slot.old) == (5, 4, 0)
    waiting = taken(slot)
    assert (waiting.index, waiting.captured_at, waiting.pts_s) == (4, 1_004.0, 4.0)
    assert slot.take() is None
    assert slot.put(shot(15, 5.0), unix_s=1_005.0)
    assert (slot.received, slot.skipped) == (6, 4), "what was taken was not skipped"


def test_what_waited_in_a_queue_is_passed_over_until_it_is_new_again() -> None:
    slot = Slot(max_age_s=1.0)
    for index in range(60):  # 2 s at 30 frames per second
        slot.put(shot(index / 30, index / 30), unix_s=1_000 + index / 30)
    slot.take()
    kept = []
    for index in range(60, 450):  # then nothing for 10 s, and all of it at once, at 300 per second
        arrived_s = max(12 + (index - 60) / 300, index / 30)
        if slot.put(shot(arrived_s, index / 30), unix_s=1_000 + arrived_s):
            waiting = taken(slot)
            kept.append(arrived_s - (waiting.captured_at - 1_000))
    assert slot.old == 390 - len(kept) > 250
    assert (slot.received, slot.skipped) == (450, 59)
    assert len(kept) > 50
    assert max(kept) <= 1.0
    assert kept[-1] < 0.1


def test_a_late_frame_that_nothing_waits_behind_is_kept() -> None:
    slot = Slot(max_age_s=1.0)
    slot.put(shot(0.0, 0.0), unix_s=1_000.0)
    assert slot.put(shot(8.0, 5.0), unix_s=1_008.0), "3 s late, and the newest there is"
    assert taken(slot).captured_at == pytest.approx(1_005.0, abs=0.1)


def test_times_rise_over_captures_whose_own_begin_anywhere() -> None:
    slot = Slot(max_age_s=1.0)
    found = []
    for arrived_s, pts_s in ((5.0, 900.0), (6.0, 901.0)):
        slot.put(shot(arrived_s, pts_s), unix_s=1_000 + arrived_s)
        found.append(taken(slot))
    slot.reopened()
    for arrived_s, pts_s in ((16.0, 3.0), (17.0, 4.0)):
        slot.put(shot(arrived_s, pts_s), unix_s=1_000 + arrived_s)
        found.append(taken(slot))
    assert [waiting.index for waiting in found] == [0, 1, 2, 3]
    assert [waiting.pts_s for waiting in found] == pytest.approx([0, 1, 11, 12])


def test_the_frame_itself_is_what_is_kept() -> None:
    slot = Slot(max_age_s=1.0)
    picture = grey(7)
    slot.put(Shot(1.0, None, lambda: picture, "nv12"), unix_s=1_000.0)
    kept = taken(slot).shot
    assert kept.image() is picture
    assert kept.pixel_format == "nv12"
