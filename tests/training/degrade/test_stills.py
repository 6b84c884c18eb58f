from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.types import Image
from training.degrade.stills import (
    blur,
    first_jpeg,
    gaussian_noise,
    jpeg,
    mjpeg,
    mjpeg_file,
    poisson_noise,
    qscale,
    resize,
    webp,
)


def difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def scene(height: int, width: int) -> Image:
    """Colours that change slowly, as halved colour demands, with some detail in grey."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 215, (height // 12, width // 12, 3), dtype=np.uint8)
    detail = rng.normal(0, 6, (height, width, 1))
    drawn: Image = np.clip(resize(coarse, height, width, "bicubic") + detail, 0, 255).astype(
        np.uint8
    )
    return drawn


@pytest.fixture
def image() -> Image:
    return scene(61, 47)


@pytest.mark.parametrize("codec", [jpeg, mjpeg, webp])
def test_a_codec_loses_more_at_lower_quality_and_keeps_odd_sizes(
    image: Image, codec: object
) -> None:
    assert callable(codec)
    done = [codec(image, quality) for quality in (95, 75, 40, 10)]
    losses = [difference(picture, image) for picture in done]
    assert losses == sorted(losses) and 0 < losses[0] < losses[-1] < 20
    assert all(p.shape == image.shape and p.dtype == np.uint8 for p in done)


@pytest.mark.parametrize("codec", [jpeg, mjpeg])
def test_halved_colour_loses_more(image: Image, codec: object) -> None:
    assert callable(codec)
    assert difference(codec(image, 95, "4:2:0"), image) > difference(
        codec(image, 95, "4:4:4"), image
    )


@pytest.mark.parametrize("codec", [jpeg, mjpeg, webp])
@pytest.mark.parametrize("side", [1, 2, 7])
def test_a_codec_takes_tiny_pictures(codec: object, side: int) -> None:
    assert callable(codec)
    grey = np.full((side, side, 3), 100, np.uint8)
    assert difference(codec(grey, 90), grey) < 3


def test_the_two_jpegs_come_from_two_encoders(image: Image) -> None:
    file = mjpeg_file(image, 75, "4:2:0")
    with PillowImage.open(io.BytesIO(file)) as made:
        assert made.format == "JPEG" and made.size == (47, 61)
        theirs = made.quantization[0]  # type: ignore[attr-defined]  # of a JpegImageFile
    saved = io.BytesIO()
    PillowImage.fromarray(image).save(saved, "JPEG", quality=75)
    with PillowImage.open(saved) as ours:
        assert list(ours.quantization[0]) != list(theirs)  # type: ignore[attr-defined]  # likewise
    assert b"Lavc" in file
    assert abs(difference(mjpeg(image, 75), image) - difference(jpeg(image, 75), image)) < 1


def test_qscale_falls_with_quality_within_the_encoders_range() -> None:
    scales = [qscale(quality) for quality in range(1, 101)]
    assert scales == sorted(scales, reverse=True)
    assert (scales[0], scales[74], scales[-1]) == (69, 4, 1)


def test_colours_keep_their_order() -> None:
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 200
    for done in (jpeg(blue, 90), mjpeg(blue, 90), webp(blue, 90), resize(blue, 16, 16, "bicubic")):
        assert done[8, 8].argmax() == 0 and done[8, 8, 0] > 150


def test_only_nearest_is_not_antialiased() -> None:
    stripes = (np.indices((64, 64)).sum(0)[..., None] % 2 * np.full(3, 255)).astype(np.uint8)
    assert resize(stripes, 32, 32, "nearest").std() in (0, 127.5)
    for name in ("bilinear", "bicubic", "lanczos"):
        inside = resize(stripes, 32, 32, name)[4:-4, 4:-4]
        assert abs(inside.astype(int) - 127).max() <= 1


def test_blur_spreads_an_impulse_by_its_sigma() -> None:
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[20, 20] = 255
    row = blur(dot, 1.2)[:, :, 0].sum(1).astype(float)
    place = np.arange(41) - 20
    assert np.sqrt((row * place**2).sum() / row.sum()) == pytest.approx(1.2, abs=0.1)


def test_gaussian_noise_has_its_sigma_and_follows_its_seed() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = gaussian_noise(grey, 5.0, seed=3)
    assert noisy.std() == pytest.approx(5.0, rel=0.05) and noisy.mean() == pytest.approx(
        128, abs=0.3
    )
    assert np.array_equal(noisy, gaussian_noise(grey, 5.0, seed=3))
    assert not np.array_equal(noisy, gaussian_noise(grey, 5.0, seed=4))


@pytest.mark.parametrize("level", [5, 40, 200])
def test_photon_counts_have_the_mean_and_the_variance_of_poissons(level: int) -> None:
    grey = np.full((96, 96, 3), level, np.uint8)
    counts = poisson_noise(grey, 255.0, seed=1).astype(float)
    assert counts.mean() == pytest.approx(level, rel=0.03)
    assert counts.var() == pytest.approx(level, rel=0.06)
    assert not poisson_noise(np.zeros((8, 8, 3), np.uint8), 255.0, seed=1).any()


def test_the_first_jpeg_follows_the_generator(image: Image) -> None:
    once = first_jpeg(image, np.random.default_rng(3))
    assert once.shape == image.shape
    assert np.array_equal(once, first_jpeg(image, np.random.default_rng(3)))
    assert not np.array_equal(once, first_jpeg(image, np.random.default_rng(4)))
