from __future__ import annotations

import numpy as np
import pytest
from typing_extensions import Self

from edge.faces import Face, FaceFinder, Faces, FaceSettings
from edge.faces.boxes import as_rows, overlaps
from edge.faces.watch import FaceWatch
from edge.types import Box, Image
from tests.edge.faces.pictures import CROWD, crowd, scene, wall


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


def test_starting_anew_looks_at_once_and_gives_another_number(finder: FaceFinder) -> None:
    watch, counted = watched(finder, 10)
    image = scene([(200, 60)])
    for _ in range(2):
        watch.follow(image)
        watch.start_anew()
    watch.follow(image)
    assert counted.looks == 3 and [track.number for track in watch.seen] == [3]


def test_fifty_faces_in_one_frame() -> None:
    with Faces(FaceSettings(longest_side=1280, every=3)) as faces:
        watch = FaceWatch(faces, 32)
        image = crowd()
        for _ in range(3):
            watch.follow(image)
            crops = watch.crops(image)
            assert len({crop.track for crop in crops}) == 50
    columns = sorted(crop.xyxy[0] // 128 for crop in crops)
    assert columns == sorted(x // 128 for x, _ in CROWD)


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
