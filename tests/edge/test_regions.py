from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UsageError
from edge.regions import RegionSpec, cut, parse_region, place, resize_antialiased


def picture(height: int, width: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "text", ["native", "center:256", "resize:224", "fit:720", "tiles:64", "faces:96"]
)
def test_parses_and_prints_the_same(text: str) -> None:
    assert str(parse_region(text)) == text


@pytest.mark.parametrize("text", ["", "centre:9", "center", "center:0", "tiles:-3", "resize:9x9"])
def test_refuses_anything_else_with_the_syntax(text: str) -> None:
    with pytest.raises(UsageError, match=r"Expected native, center:N"):
        parse_region(text)


def test_faces_alone_are_of_the_usual_size() -> None:
    assert parse_region("faces") == parse_region(" faces:224 ") == RegionSpec("faces", 224)
    with pytest.raises(UsageError, match="faces or faces:N"):
        parse_region("face")


def test_a_picture_of_a_face_is_resized_where_nobody_looks_for_faces() -> None:
    (crop,) = cut(picture(100, 100), RegionSpec("faces", 64))
    assert crop.image.shape == (64, 64, 3) and crop.track is None
    assert place(100, 90, RegionSpec("faces", 64)) == ([(0, 0, 90, 100)], (64, 64))


@pytest.mark.parametrize(
    ("text", "input_hw"), [("native", (31, 47)), ("center:64", (31, 47)), ("resize:64", (64, 64))]
)
def test_a_small_frame_is_seen_whole(text: str, input_hw: tuple[int, int]) -> None:
    image = picture(31, 47)
    (crop,) = cut(image, parse_region(text))
    assert crop.xyxy == (0, 0, 47, 31)
    assert crop.image.shape == (*input_hw, 3)
    assert (crop.image is image) or text != "native"


def test_center_is_cut_on_the_grid_of_eight() -> None:
    image = picture(100, 333)
    (crop,) = cut(image, RegionSpec("center", 64))
    left, top, right, bottom = crop.xyxy
    assert (right - left, bottom - top) == (64, 64)
    assert (left % 8, top % 8) == (0, 0)
    assert abs((left + right) / 2 - 333 / 2) <= 8
    assert np.array_equal(crop.image, image[top:bottom, left:right])


@given(st.integers(1, 130), st.integers(1, 130), st.integers(1, 70))
def test_tiles_cover_every_pixel_and_have_one_size(height: int, width: int, size: int) -> None:
    seen = np.zeros((height, width), bool)
    crops = cut(picture(height, width), RegionSpec("tiles", size))
    for crop in crops:
        left, top, right, bottom = crop.xyxy
        assert crop.image.shape[:2] == (min(size, height), min(size, width))
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert len(crops) == -(-height // min(size, height)) * -(-width // min(size, width))


@pytest.mark.parametrize(
    ("frame_hw", "input_hw"),
    [
        ((1080, 1920), (720, 1280)),
        ((1920, 1080), (1280, 720)),
        ((1440, 1920), (720, 960)),
        ((1081, 1923), (720, 1281)),
        ((720, 1280), (720, 1280)),
        ((480, 10_000), (480, 10_000)),
        ((721, 5000), (720, 4993)),
    ],
)
def test_fit_keeps_the_aspect_and_never_enlarges(
    frame_hw: tuple[int, int], input_hw: tuple[int, int]
) -> None:
    height, width = frame_hw
    assert place(height, width, RegionSpec("fit", 720)) == ([(0, 0, width, height)], input_hw)


def test_fit_reduces_as_resize_does() -> None:
    image = picture(90, 160)
    (crop,) = cut(image, RegionSpec("fit", 45))
    assert crop.xyxy == (0, 0, 160, 90)
    assert np.array_equal(crop.image, resize_antialiased(image, 45, 80))
    (same,) = cut(image, RegionSpec("fit", 90))
    assert same.image is image


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 500))
def test_fit_rounds_both_sides_to_the_nearest_pixel(height: int, width: int, size: int) -> None:
    _, (h, w) = place(height, width, RegionSpec("fit", size))
    scale = min(1.0, size / min(height, width))
    assert abs(h - height * scale) <= 0.5 and abs(w - width * scale) <= 0.5
    assert min(h, w) == min(size, height, width)


def test_resize_is_antialiased_as_a_triangle_filter_and_keeps_the_order_of_channels() -> None:
    # Halving by a triangle filter weighs a row's neighbours 1, 3, 3, 1 (source: its definition).
    image = np.zeros((8, 1, 3), np.uint8)
    image[3] = 160
    expected = [0, 160 * 3 / 8, 160 * 1 / 8, 0]
    halved = resize_antialiased(image, 4, 1)[:, 0, 0]
    assert np.abs(halved.astype(float) - expected).max() <= 1
    image = np.zeros((20, 20, 3), np.uint8)
    image[..., 0] = 200
    assert (resize_antialiased(image, 10, 10) == [200, 0, 0]).all()
