from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edge.faces import Face, FaceFinder, aligned_crops, crop_face
from edge.faces.tracker import MEMORY_S, FaceTracker
from edge.types import Image
from tests.edge.faces.pictures import CROWD, POINTS, crowd, scene, wall

SHOWN, HIDDEN = scene([(200, 60)]), scene([])


class Told(FaceFinder):
    """Finds squares where it is told to, by their left edges, and counts its looks."""

    def __init__(self) -> None:
        self.at: Sequence[int] = ()
        self.looks = 0

    def find(self, image: Image) -> list[Face]:
        self.looks += 1
        return [Face((x, 112, x + 100, 212), 1.0, POINTS) for x in self.at]


def tracked(tracker: FaceTracker, image: Image, time_s: float) -> list[int | None]:
    crops = tracker.look(image, time_s)
    assert crops is not None
    return [crop.track for crop in crops]


def test_a_face_keeps_its_number_while_it_is_found_near_and_soon_again() -> None:
    told = Told()
    tracker = FaceTracker(told, 32)
    steps: list[tuple[float, Sequence[int], list[int]]] = [
        (0.0, [460, 60], [1, 2]),
        (0.1, [66, 455], [2, 1]),  # in another order, and a little elsewhere
        (0.2, [150], [2]),  # the nearer one
        (0.3, [], []),
        (0.1 + MEMORY_S, [430, 150], [1, 2]),  # both come back
        (4.5, [430], [3]),  # too late
        (4.6, [200], [4]),  # too far away
        (4.0, [200], [5]),  # the clock stepped back
    ]
    for time_s, at, numbers in steps:
        told.at = at
        assert tracked(tracker, SHOWN, time_s) == numbers, time_s
    tracker.restart()
    assert tracked(tracker, SHOWN, 4.1) == [1]


def test_faces_after_a_cut_are_others_and_those_in_other_light_are_not(finder: FaceFinder) -> None:
    tracker = FaceTracker(finder, 32)
    scenes = [(SHOWN, 1), (HIDDEN, None), (SHOWN, 1), (SHOWN // 2, 1)]
    for i, (image, number) in enumerate(scenes):
        assert tracked(tracker, image, 0.1 * i) == [number] * (number is not None)
    assert tracked(tracker, np.ascontiguousarray(255 - SHOWN[:, ::-1]) // 2 + 60, 0.5) in ([], [2])
    assert tracked(tracker, wall(200, 200), 0.6) == []


@pytest.mark.parametrize(("rate", "looks"), [(math.inf, 24), (24.0, 24), (8.0, 8), (1.0, 1)])
def test_it_looks_at_its_rate_and_at_once_after_a_restart(rate: float, looks: int) -> None:
    told = Told()
    tracker = FaceTracker(told, 32, rate=rate)
    for i in range(24):
        if tracker.is_due(time_s := round(i / 24, 3)):
            tracker.look(HIDDEN, time_s)
    assert told.looks == looks
    assert tracker.is_due(-1.0), "a step back in time"
    tracker.restart()
    assert tracker.is_due(23 / 24)


@pytest.mark.parametrize("side", [3.0, None])
@pytest.mark.parametrize("place", [(200, 60), (-80, 60), (480, 60), (200, 190)])
def test_a_crop_is_the_one_that_training_cuts(
    finder: FaceFinder, place: tuple[int, int], side: float | None
) -> None:
    image = scene([place])
    (face,) = finder.find(image)
    (crop,) = FaceTracker(finder, 96, side).look(image, 0.0) or []
    left, top, right, bottom = crop.xyxy
    assert 0 <= left < right <= 640 and 0 <= top < bottom <= 360
    if side is None:
        assert right - left == bottom - top
        expected = crop_face(image, crop.xyxy, 96)
    else:
        (expected,) = aligned_crops(image, [face.points], 96, side)
    np.testing.assert_array_equal(crop.image, expected)


def test_fifty_faces_keep_their_numbers() -> None:
    tracker = FaceTracker(FaceFinder(1280), 32)
    before = None
    for i in range(2):
        crops = tracker.look(crowd(), 0.1 * i) or []
        tracks = {(c.xyxy[0] // 128, c.xyxy[1] // 128): c.track for c in crops}
        assert tracks.keys() == {(x // 128, y // 128) for x, y in CROWD}
        assert len(set(tracks.values())) == 50 and before in (None, tracks)
        before = tracks
