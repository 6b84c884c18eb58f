from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from edge.errors import MissingDependency
from edge.types import Image
from tests.training.faces.face_sets import photograph
from training.faces.augment import Augment
from training.faces.config import AugmentConfig

NOTHING = {
    "flip": 0,
    "degrees": 0,
    "scale": (1, 1),
    "perspective": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "erase": 0,
}


def only(**changes: object) -> Callable[[Image, int], Image]:
    return Augment(AugmentConfig.model_validate({**NOTHING, **changes}))


def test_a_seed_gives_one_picture_and_leaves_the_common_random_state() -> None:
    augment = Augment(AugmentConfig())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    pictures = [augment(photograph(), seed) for seed in (1, 2, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])
    assert pictures[0].dtype == np.uint8 and pictures[0].shape == photograph().shape


def test_without_changes_a_picture_stays_as_it_is() -> None:
    changed = only()(photograph(), 3).astype(int)
    assert np.abs(changed - photograph()).max() <= 1


def test_a_flip_mirrors_left_and_right_alone() -> None:
    flipped = only(flip=1)(photograph(), 0).astype(int)
    assert np.abs(flipped - photograph()[:, ::-1]).max() <= 1


def test_turning_stays_within_the_angle() -> None:
    # A bright bar through the middle: its ends tell how far it was turned.
    bar = np.zeros((101, 101, 3), np.uint8)
    bar[48:53] = 255
    augment, angles = only(degrees=40), []
    for seed in range(30):
        rows, columns = np.nonzero(augment(bar, seed)[..., 0] > 128)
        angles.append(np.degrees(np.arctan(np.polyfit(columns, rows, 1)[0])))
    assert max(map(abs, angles)) < 41 and min(angles) < -15 and max(angles) > 15


def test_slanting_moves_corners_by_no_more_than_it_may() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    augment = only(perspective=1, slant=0.2)
    shares = [float((augment(white, seed)[..., 0] > 128).mean()) for seed in range(20)]
    # Each corner moves inward by up to a tenth of the side: (1 − 2·0.1)² is left at the least.
    assert min(shares) > 0.63 and min(shares) < 0.95


def test_colours_change_by_factors_and_grey_stays_grey() -> None:
    grey = np.full((40, 40, 3), 100, np.uint8)
    grey[:20] = 0
    bright = [only(brightness=0.5)(grey, seed) for seed in range(20)]
    levels = [int(picture[30, 0, 0]) for picture in bright]
    assert all((picture[:20] == 0).all() for picture in bright)
    assert 49 <= min(levels) < 80 and 120 < max(levels) <= 151
    faded = only(saturation=0.5)(grey, 0).astype(int)
    assert np.abs(faded - grey).max() <= 1


def test_erasing_takes_a_black_rectangle_of_the_wanted_size() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    erase = only(erase=1, erased_area=(0.02, 0.16), erased_ratio=(0.3, 1.6))
    for seed in range(20):
        rows, columns = np.nonzero(erase(white, seed)[..., 0] == 0)
        height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        assert len(rows) == height * width and 0.015 < len(rows) / 1e4 < 0.17
    kept = [bool((only(erase=0.5)(white, seed) == 255).all()) for seed in range(40)]
    assert 8 < sum(kept) < 32


@pytest.mark.parametrize(
    "wrong", [{"scale": (1.1, 0.9)}, {"erased_area": (0.1, 2)}, {"flip": 2}, {"hue": 1}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AugmentConfig.model_validate(wrong)


def test_where_kornia_is_absent_its_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    with pytest.raises(MissingDependency, match="pip install kornia"):
        Augment(AugmentConfig())
