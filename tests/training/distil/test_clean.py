from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge.types import Image
from training.degrade import Policy
from training.degrade.policy import Kind, Pair
from training.distil.clean import WithClean, resizes

KINDS: tuple[Kind, ...] = ("jpeg", "webp", "h264", "h265", "blur", "gaussian_noise",
                           "poisson_noise")  # fmt: skip


def photograph() -> Image:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (40, 40, 3)).repeat(4, 0).repeat(4, 1)
    return coarse.astype(np.uint8)


def only(kind: Kind) -> dict[str, object]:
    return {"untouched": 0, "two": 0, "single": {kind: 1}}


def nearest_shift(degraded: Image, clean: Image) -> tuple[int, int]:
    """By how many rows and columns the clean crop must move to lie best on the degraded one."""
    inner = slice(3, -3)
    errors = {}
    for shift in itertools.product(range(-2, 3), repeat=2):
        moved = np.roll(clean, shift, (0, 1))[inner, inner].astype(int)
        errors[shift] = np.abs(degraded[inner, inner] - moved).mean()
    rows, columns = min(errors, key=lambda shift: errors[shift])
    return rows, columns


@pytest.mark.parametrize("kind", KINDS)
def test_the_clean_crop_lies_on_the_degraded_one(kind: Kind) -> None:
    image = photograph()
    rng = np.random.default_rng(0)
    for _ in range(3):
        chain = WithClean.model_validate(only(kind)).draw(rng)
        degraded, clean = chain.crop(image, 48)
        assert degraded.shape == clean.shape == (48, 48, 3)
        assert nearest_shift(degraded, clean) == (0, 0)
        # It is a part of the picture, pixel for pixel.
        windows = np.lib.stride_tricks.sliding_window_view(image, (48, 48, 3))[:, :, 0]
        assert (windows[:, :, 0, 0] == clean[0, 0]).all(-1).any()
        assert any(np.array_equal(w, clean) for row in windows for w in row)


def test_the_degraded_crop_is_that_of_the_policy_itself() -> None:
    image, seed = photograph(), 5
    settings = {"single": {"jpeg": 1}, "two": 0.5, "pairs": [Pair(first="blur", then="jpeg")]}
    both = WithClean.model_validate(settings).draw(np.random.default_rng(seed))
    alone = Policy.model_validate(settings).draw(np.random.default_rng(seed))
    assert np.array_equal(both.crop(image, 48)[0], alone.crop(image, 48))
    assert both.needed(48) == alone.needed(48)


def test_a_small_picture_is_mirrored_alike() -> None:
    chain = WithClean.model_validate(only("jpeg")).draw(np.random.default_rng(1))
    degraded, clean = chain.crop(photograph()[:30, :50], 48)
    assert nearest_shift(degraded, clean) == (0, 0)


def test_a_policy_that_resizes_is_known() -> None:
    assert resizes(Policy())
    assert not resizes(Policy(single={"jpeg": 1, "resize": 0}, two=0))
    assert resizes(Policy(single={"jpeg": 1}))  # by its pairs
    assert not resizes(Policy(untouched=1, two=0))
