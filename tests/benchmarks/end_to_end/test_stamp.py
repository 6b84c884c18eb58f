from __future__ import annotations

import numpy as np
import pytest

from benchmarks.end_to_end.clips import Scene, Size
from benchmarks.end_to_end.sender import Encoder
from benchmarks.end_to_end.stamp import HEIGHT_PX, TURN_US, WIDTH_PX, draw_stamp, read_stamp
from edge.types import Image

SIZE = Size("small", 96, 400)


@pytest.mark.parametrize("time_us", [0, 1, 123_456_789_012, TURN_US - 1])
def test_what_is_drawn_is_read(time_us: int) -> None:
    image = Scene(SIZE).picture(3)
    below = image[HEIGHT_PX:].copy()
    draw_stamp(image, time_us)
    assert read_stamp(image) == time_us
    assert np.array_equal(image[HEIGHT_PX:], below)


def test_the_clock_starts_over() -> None:
    image = Scene(SIZE).picture(0)
    draw_stamp(image, TURN_US + 7)
    assert read_stamp(image) == 7


def test_it_survives_noise_and_blur() -> None:
    image = Scene(SIZE).picture(0)
    draw_stamp(image, 987_654_321)
    noise = np.random.default_rng(0).normal(0, 25, image.shape)
    worn: Image = (image * 0.8 + 20 + noise).clip(0, 255).astype(np.uint8)
    assert read_stamp(worn) == 987_654_321


def test_no_stamp_is_no_time() -> None:
    black = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    assert read_stamp(black) is None
    assert read_stamp(black + 255) is None
    assert read_stamp(black[:, :-1]) is None


def test_a_flipped_block_is_told() -> None:
    image = Scene(SIZE).picture(0)
    draw_stamp(image, 42)
    image[:16, :16] = 255 - image[:16, :16]
    assert read_stamp(image) is None


def test_a_small_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="384×32"):
        draw_stamp(np.zeros((32, 300, 3), np.uint8), 1)


def test_a_picture_leaves_the_encoder_at_once_with_its_parameter_sets() -> None:
    units = Encoder(SIZE, 30).units(0)
    kinds = [unit[0] & 0x1F for unit in units]
    assert {7, 8, 5} <= set(kinds), "SPS, PPS and a picture that stands alone"
