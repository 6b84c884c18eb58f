from __future__ import annotations

import numpy as np
import pytest

from tests.training.degrade.test_stills import difference
from tests.training.pictures import smooth_noise
from training.degrade import COLUMNS, H264_23, JPEG_75, JPEG_90, RESIZED_JPEG_85, UNTOUCHED
from training.degrade.stills import resize


def test_the_columns_and_their_order() -> None:
    assert list(COLUMNS) == [UNTOUCHED, JPEG_90, JPEG_75, H264_23, RESIZED_JPEG_85]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_keeps_type_and_likeness_of_an_odd_picture(name: str) -> None:
    image = np.ascontiguousarray(smooth_noise(np.random.default_rng(0))[:61, :47])
    done = COLUMNS[name](image)
    same_size = (46, 35, 3) if name == RESIZED_JPEG_85 else image.shape
    assert done.shape == same_size and done.dtype == np.uint8
    assert (name == UNTOUCHED) == np.array_equal(done, image)
    assert difference(resize(done, 61, 47, "bicubic"), image) < 12


def test_the_resized_column_takes_one_pixel() -> None:
    assert COLUMNS[RESIZED_JPEG_85](np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)
