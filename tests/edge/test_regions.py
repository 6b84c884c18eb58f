from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UsageError
from edge.regions import RegionSpec, cut, has_texture, parse_region, place, resize_antialiased
from tests.fakes import as_nv12, barred, grey


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


def scene(mean: float, deviation: float, noise: float, seed: int = 3) -> np.ndarray:
    """Soft shapes of so much contrast under the noise of a sensor, uint8 [240, 320, 3]."""
    rng = np.random.default_rng(seed)
    shapes = cv2.GaussianBlur(rng.standard_normal((240, 320)), (0, 0), 12)
    image = mean + deviation * shapes / shapes.std() + noise * rng.standard_normal((240, 320))
    return np.repeat(image[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "shows"),
    [
        (grey(0, 240, 320), False),
        (grey(255, 241, 323), False),
        (scene(6, 0.0, 3.0), False),  # a covered lens
        (np.repeat(np.linspace(60, 84, 640), 480 * 3).reshape(640, 480, 3).astype(np.uint8), False),
        (scene(20, 8.0, 6.0), True),  # at night
        (scene(200, 5.0, 1.0), True),  # in fog
        (barred(128, 120, 160), True),
        (grey(9, 8, 8), True),  # too small to be asked
    ],
)
def test_whether_there_is_anything_to_see(image: np.ndarray, shows: bool) -> None:
    assert has_texture(image) is shows
    even = np.ascontiguousarray(image[: len(image) // 2 * 2, : image.shape[1] // 2 * 2])
    assert has_texture(as_nv12(even), "nv12") is shows
