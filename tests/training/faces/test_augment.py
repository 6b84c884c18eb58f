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


@pytest.mark.parametrize(
    "change",
    [{"degrees": 40}, {"scale": (0.5, 0.6)}, {"perspective": 1}, {"brightness": 0.5},
     {"contrast": 0.5}, {"saturation": 0.9}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_setting_reaches_its_transform(change: dict[str, object]) -> None:
    assert np.abs(only(**change)(photograph(), 1).astype(int) - photograph()).mean() > 0.5


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
