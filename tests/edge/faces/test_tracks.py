from __future__ import annotations

import numpy as np
import pytest
from typing_extensions import Self

from edge.faces import Face, FaceFinder, Faces, FaceSettings
from edge.faces.boxes import as_rows, overlaps
from edge.faces.tracks import MEMORY, PATIENCE, FaceWatch, Track, Tracks
from edge.types import Box, Image
from tests.edge.faces.pictures import CROWD, crowd, scene, wall

STEP = 7
BLANK = np.full((360, 640, 3), 90, np.uint8)


def at(x: int, y: int = 112, side: int = 105) -> Face:
    """The face of a head that `scene` puts at x - 61, y - 52."""
    return Face((x, y, x + side, y + side), 1.0)


class Following(Tracks):
    def update(self, found: list[Face] | None, image: Image) -> list[Track]:
        """Go on to the next frame; None where nobody looks for faces in it."""
        self.carry(image)
        if found is not None:
            self.match(found, image)
        return self.tracks


def overlap(one: Box, other: Box) -> float:
    return float(overlaps(as_rows([one]), as_rows([other]))[0, 0])


def test_a_new_face_has_the_next_number_and_keeps_it() -> None:
    tracks = Following()
    image = scene([(0, 60), (400, 60)])
    first = tracks.update([at(461), at(61)], image)
    assert [(t.number, t.xyxy[0], t.age, t.seen) for t in first] == [
        (1, 461, 0, True),
        (2, 61, 0, True),
    ]
    # In another order, and a little elsewhere.
    second = tracks.update([at(66), at(455)], image)
    assert [(t.number, t.xyxy[0], t.age) for t in second] == [(1, 455, 1), (2, 66, 1)]


def test_faces_are_followed_where_nobody_looks() -> None:
    tracks = Following()
    tracks.update([at(161), at(461, 82)], scene([(100, 60), (400, 30)]))
    for i in range(1, 12):
        one, two = tracks.update(None, scene([(100 + STEP * i, 60), (400, 30 + STEP * i)]))
    assert (one.number, one.seen, one.age) == (1, True, 11)
    assert overlap(one.xyxy, at(161 + 11 * STEP).xyxy) > 0.9
    assert (two.number, two.seen) == (2, True)
    assert overlap(two.xyxy, at(461, 82 + 11 * STEP).xyxy) > 0.9


def test_a_face_that_comes_nearer_gets_a_larger_box() -> None:
    tracks = Following()
    sides = range(180, 241, 6)
    for i, side in enumerate(sides):
        x, face = 320 - side // 2, round(0.44 * side)
        start = [Face((320 - face // 2, 125, 320 + face // 2, 125 + face), 1.0)] if not i else None
        (track,) = tracks.update(start, scene([(x, 180 - side // 2)], side))
    grown = (track.xyxy[2] - track.xyxy[0]) / (2 * round(0.22 * 180))
    assert grown == pytest.approx(sides[-1] / sides[0], rel=0.08)


def test_a_hidden_face_is_lost_and_keeps_its_number_when_it_comes_back() -> None:
    tracks = Following()
    shown, hidden = scene([(200, 60)]), scene([])
    tracks.update([at(261)], shown)
    (lost,) = tracks.update(None, hidden)
    assert (lost.number, lost.seen) == (1, False)
    for _ in range(5):
        (lost,) = tracks.update([], hidden)
    assert not lost.seen and lost.age == 6
    # Further than the boxes overlap, but near.
    (found,) = tracks.update([at(341)], scene([(280, 60)]))
    assert (found.number, found.seen, found.age, found.xyxy[0]) == (1, True, 7, 341)


def test_a_lost_face_is_forgotten_in_the_end() -> None:
    tracks = Following()
    tracks.update([at(261)], scene([(200, 60)]))
    for _ in range(MEMORY):
        assert len(tracks.update([], scene([]))) == 1
    assert tracks.update([], scene([])) == []
    (other,) = tracks.update([at(261)], scene([(200, 60)]))
    assert other.number == 2


def test_a_face_that_a_look_misses_stays_while_it_is_followed() -> None:
    tracks = Following()
    image = scene([(200, 60)])
    tracks.update([at(261)], image)
    seen = [tracks.update([], image)[0].seen for _ in range(PATIENCE + 2)]
    assert seen == [True] * PATIENCE + [False] * 2
    assert tracks.update([at(262)], image)[0].seen


def test_another_size_is_another_picture() -> None:
    tracks = Following()
    tracks.update([at(261)], scene([(200, 60)]))
    (track,) = tracks.update([Face((10, 10, 90, 90), 1.0)], wall(200, 200))
    assert track.number == 2


def test_no_face_ever() -> None:
    tracks = Following()
    looks: list[list[Face] | None] = [[], None, []]
    for found in looks:
        assert tracks.update(found, BLANK) == []


@pytest.mark.parametrize("side", [1, 3, 8])
def test_tiny_faces_break_nothing(side: int) -> None:
    tracks = Following()
    image = scene([(200, 60)])
    tracks.update([Face((100, 100, 100 + side, 100 + side), 1.0)], image)
    (track,) = tracks.update(None, image)
    left, top, right, bottom = track.xyxy
    assert right > left and bottom > top


def test_a_face_that_walks_out_of_the_picture_is_lost() -> None:
    tracks = Following()
    tracks.update([at(61)], scene([(0, 60)]))
    seen = [tracks.update(None, scene([(-10 * i, 60)]))[0] for i in range(1, 20)]
    assert seen[2].seen and not seen[-1].seen
    for track in seen:
        left, _, right, _ = track.xyxy
        assert left >= 0 and right > left


class Counted:
    """Finds what another finder finds, and counts."""

    def __init__(self, finder: FaceFinder) -> None:
        self.finder = finder
        self.name, self.key = finder.name, finder.key
        self.looks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def find(self, image: Image) -> list[Face]:
        self.looks += 1
        return self.finder.find(image)


def watched(finder: FaceFinder, every: int) -> tuple[FaceWatch, Counted]:
    counted = Counted(finder)
    return FaceWatch(Faces(FaceSettings(every=every), counted), 96), counted


def face_at(x: int, y: int = 60, side: int = 220) -> Box:
    """Where a face is whose head is there."""
    inset = round(0.28 * side)
    return x + inset, y + inset, x + side - inset, y + side - inset


def longer_side(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


@pytest.mark.parametrize(("every", "looks"), [(1, 12), (4, 3), (20, 1)])
def test_looks_in_every_nth_frame_and_shows_the_face_in_all(
    finder: FaceFinder, every: int, looks: int
) -> None:
    watch, counted = watched(finder, every)
    for i in range(12):
        image = scene([(150 + 6 * i, 60)])
        watch.follow(image)
        (crop,) = watch.crops(image)
        assert crop.image.shape == (96, 96, 3) and crop.track == 1
        (track,) = watch.seen
        box = as_rows([track.xyxy])
        assert overlaps(box, as_rows([face_at(150 + 6 * i)]))[0, 0] > 0.7
        left, top, right, bottom = crop.xyxy
        assert right - left == bottom - top == int(1.3 * longer_side(track.xyxy))
    assert counted.looks == looks


def test_looks_at_once_where_a_face_was_lost_or_all_is_new(finder: FaceFinder) -> None:
    watch, counted = watched(finder, 100)
    watch.follow(scene([(100, 60)]))
    watch.follow(scene([(400, 60)]))  # it jumped: gone from where it was
    assert counted.looks == 2
    (track,) = watch.seen
    assert track.xyxy[0] > 400
    cut = np.ascontiguousarray(scene([(100, 60)])[:, ::-1])
    watch.follow(cut)
    watch.follow(cut)
    assert counted.looks == 3
    assert [track.number for track in watch.seen] == [3]


def test_a_lost_face_is_not_looked_for_in_every_frame(finder: FaceFinder) -> None:
    watch, counted = watched(finder, 5)
    watch.follow(scene([(100, 60)]))
    for _ in range(10):
        watch.follow(wall(360, 640))
        assert watch.crops(wall(360, 640)) == []
    assert counted.looks == 1 + 2


def test_no_face_no_crops_and_one_that_comes_is_found_at_the_next_look(
    finder: FaceFinder,
) -> None:
    watch, _ = watched(finder, 3)
    shown = [wall(360, 640)] * 2 + [scene([(200, 60)])] * 2
    found = []
    for image in shown:
        watch.follow(image)
        found.append(len(watch.crops(image)))
    assert found == [0, 0, 0, 1]


def test_a_restart_looks_at_once_and_gives_another_number(finder: FaceFinder) -> None:
    watch, counted = watched(finder, 10)
    image = scene([(200, 60)])
    for _ in range(2):
        watch.follow(image)
        watch.restart()
    watch.follow(image)
    assert counted.looks == 3 and [track.number for track in watch.seen] == [3]


def test_fifty_faces_in_one_frame() -> None:
    with Faces(FaceSettings(longest_side=1280, every=3)) as faces:
        watch = FaceWatch(faces, 32)
        image = crowd()
        before = None
        for _ in range(4):  # found, followed twice, found again
            watch.follow(image)
            crops = watch.crops(image)
            tracks = {(c.xyxy[0] // 128, c.xyxy[1] // 128): c.track for c in crops}
            assert tracks.keys() == {(x // 128, y // 128) for x, y in CROWD}
            assert len(set(tracks.values())) == 50
            assert before in (None, tracks)
            before = tracks


@pytest.mark.parametrize("place", [(-80, 60), (480, 60), (200, -55), (200, 190)])
def test_a_face_at_the_border_is_cut_as_a_square(
    finder: FaceFinder, place: tuple[int, int]
) -> None:
    watch, _ = watched(finder, 1)
    image = scene([place])
    watch.follow(image)
    (crop,) = watch.crops(image)
    left, top, right, bottom = crop.xyxy
    assert right - left == bottom - top
    assert left >= 0 and top >= 0 and right <= 640 and bottom <= 360
