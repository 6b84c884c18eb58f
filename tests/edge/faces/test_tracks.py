from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.faces import Face, Tracks
from edge.faces.boxes import as_rows, overlaps
from edge.faces.flow import Flow
from edge.faces.tracks import MEMORY, PATIENCE
from edge.types import Box, Image
from tests.edge.faces.pictures import scene, wall

STEP = 7
BLANK = np.full((360, 640, 3), 90, np.uint8)


def at(x: int, y: int = 112, side: int = 105) -> Face:
    """The face of a head that `scene` puts at x - 61, y - 52."""
    return Face((x, y, x + side, y + side), 1.0)


def overlap(one: Box, other: Box) -> float:
    return float(overlaps(as_rows([one]), as_rows([other]))[0, 0])


def test_a_new_face_has_the_next_number_and_keeps_it() -> None:
    tracks = Tracks()
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
    tracks = Tracks()
    tracks.update([at(161), at(461, 82)], scene([(100, 60), (400, 30)]))
    for i in range(1, 12):
        one, two = tracks.update(None, scene([(100 + STEP * i, 60), (400, 30 + STEP * i)]))
    assert (one.number, one.seen, one.age) == (1, True, 11)
    assert overlap(one.xyxy, at(161 + 11 * STEP).xyxy) > 0.9
    assert (two.number, two.seen) == (2, True)
    assert overlap(two.xyxy, at(461, 82 + 11 * STEP).xyxy) > 0.9


def test_a_face_that_comes_nearer_gets_a_larger_box() -> None:
    tracks = Tracks()
    sides = range(180, 241, 6)
    for i, side in enumerate(sides):
        x, face = 320 - side // 2, round(0.44 * side)
        start = [Face((320 - face // 2, 125, 320 + face // 2, 125 + face), 1.0)] if not i else None
        (track,) = tracks.update(start, scene([(x, 180 - side // 2)], side))
    grown = (track.xyxy[2] - track.xyxy[0]) / (2 * round(0.22 * 180))
    assert grown == pytest.approx(sides[-1] / sides[0], rel=0.08)


def test_a_hidden_face_is_lost_and_keeps_its_number_when_it_comes_back() -> None:
    tracks = Tracks()
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
    tracks = Tracks()
    tracks.update([at(261)], scene([(200, 60)]))
    for _ in range(MEMORY):
        assert len(tracks.update([], scene([]))) == 1
    assert tracks.update([], scene([])) == []
    (other,) = tracks.update([at(261)], scene([(200, 60)]))
    assert other.number == 2


def test_a_face_that_a_look_misses_stays_while_it_is_followed() -> None:
    tracks = Tracks()
    image = scene([(200, 60)])
    tracks.update([at(261)], image)
    seen = [tracks.update([], image)[0].seen for _ in range(PATIENCE + 2)]
    assert seen == [True] * PATIENCE + [False] * 2
    assert tracks.update([at(262)], image)[0].seen


def test_after_a_cut_nobody_is_who_they_were() -> None:
    tracks = Tracks()
    tracks.update([at(261)], scene([(200, 60)]))
    other = np.ascontiguousarray(scene([(200, 60)])[::-1, ::-1])
    assert not tracks.carry(other)
    tracks.match([at(261)], other)
    assert [track.number for track in tracks.tracks] == [2]


def test_another_size_is_another_picture() -> None:
    tracks = Tracks()
    tracks.update([at(261)], scene([(200, 60)]))
    (track,) = tracks.update([Face((10, 10, 90, 90), 1.0)], wall(200, 200))
    assert track.number == 2


def test_numbers_are_not_used_again() -> None:
    tracks = Tracks()
    image = scene([(200, 60)])
    tracks.update([at(261)], image)
    tracks.start_anew()
    assert tracks.tracks == []
    assert tracks.update([at(261)], image)[0].number == 2


def test_no_face_ever() -> None:
    tracks = Tracks()
    looks: list[list[Face] | None] = [[], None, []]
    for found in looks:
        assert tracks.update(found, BLANK) == []


def test_fifty_faces_keep_their_numbers() -> None:
    tracks = Tracks()
    faces = [
        Face((x, y, x + 40, y + 40), 1.0) for y in range(0, 320, 60) for x in range(0, 580, 60)
    ]
    faces = faces[:50]
    before = tracks.update(faces, BLANK)
    shuffled = [faces[i] for i in np.random.default_rng(0).permutation(50)]
    after = tracks.update(shuffled, BLANK)
    assert [(t.number, t.xyxy) for t in after] == [(t.number, t.xyxy) for t in before]


@pytest.mark.parametrize("side", [1, 3, 8])
def test_tiny_faces_break_nothing(side: int) -> None:
    tracks = Tracks()
    image = scene([(200, 60)])
    tracks.update([Face((100, 100, 100 + side, 100 + side), 1.0)], image)
    (track,) = tracks.update(None, image)
    left, top, right, bottom = track.xyxy
    assert right > left and bottom > top


def test_a_face_that_walks_out_of_the_picture_is_lost() -> None:
    tracks = Tracks()
    tracks.update([at(61)], scene([(0, 60)]))
    seen = [tracks.update(None, scene([(-10 * i, 60)]))[0] for i in range(1, 20)]
    assert seen[2].seen and not seen[-1].seen
    for track in seen:
        left, _, right, _ = track.xyxy
        assert left >= 0 and right > left


def covered(image: Image, box: Box) -> Image:
    changed = image.copy()
    changed[box[1] : box[3], box[0] : box[2]] = (20, 200, 40)
    return changed


def test_the_flow_knows_when_it_knows_nothing() -> None:
    image = scene([(200, 60)])
    box = as_rows([at(261).xyxy])
    for other, expected in (
        (image, True),
        (covered(image, at(261).xyxy), False),
        (np.full_like(image, 128), False),
        (cv2.GaussianBlur(image, (0, 0), 30), False),
    ):
        flow = Flow()
        assert flow.holds_none
        flow.look(image)
        assert flow.is_cut  # there is nothing before it
        flow.look(np.asarray(other, np.uint8))
        moved, sure = flow.carry(box)
        assert list(sure) == [expected]
        np.testing.assert_allclose(moved, box, atol=0.5)


def test_light_is_no_cut_and_another_picture_is() -> None:
    flow = Flow()
    for image, cut in (
        (scene([(200, 60)]), True),
        (scene([(200, 60)], light=(0.6,)), False),
        (scene([(210, 60)]), False),
        (np.ascontiguousarray(scene([(10, 60)])[:, ::-1]), True),
    ):
        flow.look(image)
        assert flow.is_cut is cut


def test_nothing_is_made_of_what_opencv_leaves_of_points_it_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(*given: object, **_: object) -> tuple[object, ...]:
        count = len(given[2])  # type: ignore[arg-type]  # the points
        rest = np.full((count, 1), 0x7FA00000, np.uint32).view(np.float32)  # a signalling NaN
        return np.repeat(rest[..., None], 2, axis=2), np.zeros((count, 1), np.uint8), rest

    image = scene([(200, 60)])
    flow = Flow()
    flow.look(image)
    flow.look(image)
    monkeypatch.setattr(cv2, "calcOpticalFlowPyrLK", lost)
    box = as_rows([at(261).xyxy])
    moved, sure = flow.carry(box)
    np.testing.assert_array_equal(moved, box)
    assert not sure.any()
