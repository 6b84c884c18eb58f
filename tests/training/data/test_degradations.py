from __future__ import annotations

import numpy as np
import pytest

from edge.types import Image
from tests.training.pictures import smooth_noise
from training.data.degradations import COLUMNS, UNTOUCHED, first_jpeg, h264, jpeg, random_jpeg


def _difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b).mean())


@pytest.fixture
def image() -> Image:
    return np.ascontiguousarray(smooth_noise(np.random.default_rng(0))[:61, :47])


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_keeps_size_type_and_likeness_of_an_odd_picture(image: Image, name: str) -> None:
    done = COLUMNS[name](image)
    assert done.shape == image.shape and done.dtype == np.uint8
    assert _difference(done, image) < 12
    assert (name == UNTOUCHED) == np.array_equal(done, image)


def test_jpeg_loses_more_at_lower_quality_and_with_halved_colour(image: Image) -> None:
    losses = [_difference(jpeg(image, q, "4:4:4"), image) for q in (95, 75, 40)]
    assert losses == sorted(losses) and losses[0] > 0
    assert _difference(jpeg(image, 95, "4:2:0"), image) > losses[0]


def test_colours_keep_their_order() -> None:
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 200
    for done in (jpeg(blue, 90), h264(blue)):
        assert done[16, 16].argmax() == 0 and done[16, 16, 0] > 150


def test_h264_loses_more_at_a_higher_rate_factor(image: Image) -> None:
    assert _difference(h264(image, 40), image) > _difference(h264(image, 15), image)


def test_random_compression_follows_the_generator(image: Image) -> None:
    for degrade in (random_jpeg, first_jpeg):
        once = degrade(image, np.random.default_rng(3))
        assert once.shape == image.shape
        assert np.array_equal(once, degrade(image, np.random.default_rng(3)))
        assert not np.array_equal(once, degrade(image, np.random.default_rng(4)))
