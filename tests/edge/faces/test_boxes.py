from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.faces import aligned_crops, crop_face, square_box
from edge.faces.boxes import as_rows, clipped, distances
from edge.regions import resize_antialiased
from tests.edge.faces.pictures import POINTS, photograph


@pytest.mark.parametrize(
    ("xyxy", "expected"),
    [
        # By hand: side = ⌊1.3 · longer side⌋, corner = centre − ⌊side / 2⌋, not below 0, and the
        # side as far as the frame of 100 × 200 goes.
        ((80, 30, 120, 70), (74, 24, 126, 76)),
        ((80, 40, 120, 60), (74, 24, 126, 76)),
        ((0, 0, 40, 40), (0, 0, 52, 52)),
        ((170, 30, 200, 60), (166, 26, 200, 60)),
        ((90, 70, 130, 100), (84, 59, 125, 100)),
        ((0, 0, 200, 100), (0, 0, 100, 100)),
    ],
)
def test_the_square_is_that_of_the_published_crops(
    xyxy: tuple[int, int, int, int], expected: tuple[int, int, int, int]
) -> None:
    assert square_box(xyxy, (100, 200)) == expected


@given(
    st.tuples(st.integers(-50, 250), st.integers(-50, 250)),
    st.tuples(st.integers(0, 300), st.integers(0, 300)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
)
def test_any_box_gives_a_square_inside_the_frame(
    corner: tuple[int, int], size: tuple[int, int], frame_hw: tuple[int, int]
) -> None:
    xyxy = (*corner, corner[0] + size[0], corner[1] + size[1])
    left, top, right, bottom = square_box(xyxy, frame_hw)
    assert right - left == bottom - top >= 1
    assert left >= 0 and right <= frame_hw[1] and top >= 0 and bottom <= frame_hw[0]
    x, y, end_x, end_y = clipped(xyxy, frame_hw)
    assert 0 <= x < end_x <= frame_hw[1] and 0 <= y < end_y <= frame_hw[0]


def test_a_crop_is_resized_antialiased_and_is_no_view_then() -> None:
    image = photograph()
    box = (170, 70, 290, 190)
    crop = crop_face(image, box, 64)
    np.testing.assert_array_equal(crop, resize_antialiased(image[70:190, 170:290], 64, 64))
    assert crop.shape == (64, 64, 3) and not np.shares_memory(crop, image)
    np.testing.assert_array_equal(crop_face(image, box, 120), image[70:190, 170:290])


def test_an_aligned_crop_has_the_eyes_level_and_the_mouth_below_whatever_the_frame_did() -> None:
    (upright,) = aligned_crops(photograph(), [POINTS], 96)
    turn = cv2.getRotationMatrix2D((220, 130), 35, 0.8)
    turned = cv2.warpAffine(photograph(), turn, (512, 512), flags=cv2.INTER_AREA)
    large = cv2.resize(photograph(), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    for image, points in (
        (turned, POINTS @ turn[:, :2].T + turn[:, 2]),
        (large, (POINTS + 0.5) * 3 - 0.5),
    ):
        (crop,) = aligned_crops(image, [points], 96)  # type: ignore[arg-type]  # it is uint8
        assert np.abs(crop.astype(int) - upright).mean() < 4
    # By hand, a pixel of the frame to one of the crop: its middle is 0.3 of the way down.
    level = np.array([(40, 60), (76, 60), (58, 80), (46, 90), (70, 90)], float)
    frame = np.zeros((160, 120, 3), np.uint8)
    frame[60, 40] = frame[60, 76] = 255
    (crop,) = aligned_crops(frame, [level], 129, 129 / 36)
    assert np.argwhere(crop[..., 0] > 200).tolist() == [[55, 46], [55, 82]]


def test_crops_at_and_beyond_the_edge_of_a_frame_are_whole() -> None:
    frame = np.full((40, 50, 3), 200, np.uint8)
    beside = POINTS - POINTS.mean(axis=0)
    crops = aligned_crops(frame, [beside, beside + 1000, np.zeros((5, 2))], 32)
    assert crops.shape == (3, 32, 32, 3) and (crops == 200).all()
    assert aligned_crops(frame, [], 32).shape == (0, 32, 32, 3)


def test_distances() -> None:
    ours = as_rows([(0, 0, 10, 10), (100, 0, 110, 10)])
    theirs = as_rows([(5, 0, 15, 10), (100, 0, 110, 10), (100, 0, 130, 30)])
    apart = distances(ours, theirs)
    assert apart[0, 0] == pytest.approx(0.5) and apart[1, 1] == 0
    assert np.isinf(apart[1, 2])  # three times as large
    assert distances(as_rows([]), theirs).shape == (0, 3)
