from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.faces import crop_face, square_box
from edge.faces.boxes import as_rows, clipped, distances, overlaps
from edge.regions import resize_antialiased
from tests.edge.faces.pictures import photograph


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


def test_overlaps_and_distances() -> None:
    ours = as_rows([(0, 0, 10, 10), (100, 0, 110, 10)])
    theirs = as_rows([(5, 0, 15, 10), (100, 0, 110, 10), (100, 0, 130, 30)])
    expected = [[50 / 150, 0, 0], [0, 1, 100 / 900]]
    np.testing.assert_allclose(overlaps(ours, theirs), expected)
    apart = distances(ours, theirs)
    assert apart[0, 0] == pytest.approx(0.5) and apart[1, 1] == 0
    assert np.isinf(apart[1, 2])  # three times as large
    assert overlaps(as_rows([]), theirs).shape == (0, 3) == distances(as_rows([]), theirs).shape
