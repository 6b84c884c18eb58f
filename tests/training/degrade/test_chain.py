from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.types import Image
from tests.training.pictures import smooth_noise
from training.degrade.chain import (
    GRID,
    Blur,
    Chain,
    Clip,
    GaussianNoise,
    Jpeg,
    PoissonNoise,
    Resize,
    Step,
    Webp,
)
from training.degrade.stills import jpeg

PAN = ((0, 0), (1, 2), (2, 4))
STEPS: list[Step] = [
    Jpeg(quality=80, grid=(3, 11)),
    Jpeg(quality=80, encoder="mjpeg", chroma="4:4:4"),
    Webp(quality=70, grid=(15, 15)),
    Clip(codec="h264", crf=23, preset="ultrafast", moves=PAN, taken=2, grid=(1, 0)),
    Clip(codec="h265", crf=23, preset="ultrafast", moves=PAN, taken=1),
    Resize(scale=0.55, filter="lanczos"),
    Resize(scale=1.45),
    Blur(sigma=0.8),
    GaussianNoise(sigma=3, seed=5),
    PoissonNoise(photons=500, seed=6),
]


def _name(step: Step) -> str:
    return type(step).__name__


@pytest.mark.parametrize("step", STEPS, ids=_name)
@pytest.mark.parametrize("size", [1, 17, 40])
def test_a_crop_has_its_size_whatever_the_picture_has(step: Step, size: int) -> None:
    chain = Chain(steps=(step, Jpeg(quality=90, grid=(7, 9))))
    rng = np.random.default_rng(0)
    for height, width in ((120, 97), (9, 150), (1, 1)):
        picture = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        crop = chain.crop(picture, size)
        assert crop.shape == (size, size, 3) and crop.dtype == np.uint8


@pytest.mark.parametrize("step", STEPS, ids=_name)
def test_what_is_needed_is_enough_and_no_more(step: Step) -> None:
    chain = Chain(steps=(step,))
    for size in (1, 2, 33):
        side = chain.needed(size)
        assert min(chain(np.zeros((side, side, 3), np.uint8)).shape[:2]) >= size
        if side > chain.needed(1):
            smaller = np.zeros((side - 1, side - 1, 3), np.uint8)
            assert chain(smaller).shape[0] < size


@given(st.floats(0.3, 3), st.integers(1, 400))
def test_resizing_needs_the_least_side(scale: float, size: int) -> None:
    step = Resize(scale=scale)
    side = step.needed(size)
    assert round(side * scale) >= size or size == 1
    assert side == 1 or round((side - 1) * scale) < size


@pytest.mark.parametrize("top,left", [(0, 0), (5, 2), (15, 8)])
def test_the_grid_of_a_jpeg_falls_where_the_step_says(top: int, left: int) -> None:
    image = smooth_noise(np.random.default_rng(0), 96)
    done = Chain(steps=(Jpeg(quality=20, chroma="4:4:4", grid=(top, left)),))(image)
    rim = GRID - 1
    whole = jpeg(image, 20, "4:4:4")
    assert np.array_equal(done, whole[top : top + 96 - rim, left : left + 96 - rim])
    assert _blocks(done) == (-top % 8, -left % 8)


def _blocks(image: Image) -> tuple[int, int]:
    """Offset of the 8×8 grid: where steps between neighbours are largest."""
    grey = image.astype(float).mean(2)
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, 2, axis=axis)).mean(1 - axis)
        means = [steps[k::8].mean() for k in range(8)]
        pairs = [means[k] + means[(k + 1) % 8] for k in range(8)]
        found.append((int(np.argmax(pairs)) + 2) % 8)
    return found[0], found[1]


def test_a_picture_that_is_too_small_for_a_chain_is_said() -> None:
    with pytest.raises(ValueError, match="at least 16 px for this chain, found 30×8"):
        Chain(steps=(Jpeg(quality=50),))(np.zeros((8, 30, 3), np.uint8))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 64))
def test_needs_add_up_backwards(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    steps = tuple(STEPS[i] for i in rng.integers(0, len(STEPS), 3))
    needed = size
    for step in reversed(steps):
        needed = step.needed(needed)
    assert Chain(steps=steps).needed(size) == needed >= 1


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(40, 120), st.integers(20, 100))
def test_what_is_left_is_as_large_as_the_picture_allows(seed: int, side: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    chain = Chain(steps=tuple(STEPS[i] for i in rng.integers(0, len(STEPS), 2)))
    left = chain.left_of(side, most)
    assert 1 <= left <= most
    assert left == 1 or chain.needed(left) <= side
    assert left == most or chain.needed(left + 1) > side
