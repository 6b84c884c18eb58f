from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.errors import UsageError
from edge.faces import FaceFinder
from tests.edge.faces.pictures import FACE_XYXY, POINTS, crowd, photograph, scene


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_face_and_its_points_are_where_they_are(finder: FaceFinder, scale: float) -> None:
    picture = cv2.resize(photograph(), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    (face,) = finder.find(picture)  # type: ignore[arg-type]  # it is uint8
    assert np.abs(np.array(face.xyxy) / scale - FACE_XYXY).max() < 12
    assert np.abs(face.points / scale - POINTS).max() < 7
    assert face.score > 0.8


@pytest.mark.parametrize("x", [-80, -40, 480])
def test_a_face_at_the_border_gives_a_box_in_the_frame(finder: FaceFinder, x: int) -> None:
    (face,) = finder.find(scene([(x, 60)]))
    left, top, right, bottom = face.xyxy
    assert 0 <= left < right <= 640 and 0 <= top < bottom <= 360


def test_fifty_faces_come_the_largest_first_and_in_a_larger_picture_smaller_ones() -> None:
    faces = FaceFinder(1280).find(crowd())
    assert len(faces) == 50
    areas = [(f.xyxy[2] - f.xyxy[0]) * (f.xyxy[3] - f.xyxy[1]) for f in faces]
    assert areas == sorted(areas, reverse=True)
    assert FaceFinder(160).find(crowd()) == []
    with pytest.raises(UsageError, match="at least 64 pixels to find faces in, found 20"):
        FaceFinder(20)


@pytest.mark.parametrize("hw", [(1, 1), (1, 700), (47, 31), (360, 640)])
def test_there_may_be_no_face(finder: FaceFinder, hw: tuple[int, int]) -> None:
    assert finder.find(np.full((*hw, 3), 90, np.uint8)) == []


def test_what_is_found_does_not_depend_on_what_was_looked_at_before(finder: FaceFinder) -> None:
    (first,) = finder.find(photograph())
    finder.find(scene([(10, 60), (430, 60)]))
    (again,) = finder.find(photograph())
    assert first.xyxy == again.xyxy and (first.points == again.points).all()
