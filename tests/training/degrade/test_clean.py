from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge.types import Image
from training.degrade import Policy
from training.degrade.policy import Kind

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
        chain = Policy.model_validate(only(kind)).draw(rng)
        degraded, clean = chain.crop(image, 48), chain.clean_crop(image, 48)
        assert degraded.shape == clean.shape == (48, 48, 3)
        assert nearest_shift(degraded, clean) == (0, 0)
        # It is a part of the picture, pixel for pixel.
        windows = np.lib.stride_tricks.sliding_window_view(image, (48, 48, 3))[:, :, 0]
        assert (windows[:, :, 0, 0] == clean[0, 0]).all(-1).any()
        assert any(np.array_equal(w, clean) for row in windows for w in row)


def test_a_small_picture_is_mirrored_in_both() -> None:
    chain = Policy.model_validate(only("jpeg")).draw(np.random.default_rng(1))
    degraded, clean = (crop(photograph()[:30, :50], 48) for crop in (chain.crop, chain.clean_crop))
    assert nearest_shift(degraded, clean) == (0, 0)


def test_a_policy_that_resizes_is_known() -> None:
    assert Policy().resizes
    assert not Policy(single={"jpeg": 1, "resize": 0}, two=0).resizes
    assert Policy(single={"jpeg": 1}).resizes  # by its pairs
    assert not Policy(untouched=1, two=0).resizes
