from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.pictures import index_folder, write_split
from training.data.folders import Picture
from training.methods.distill import correlation, paired_maps, rank_correlation
from training.models import PatchModel, build
from training.validation import View


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    write_split(tmp_path / "val", per_source=1, seed=0)
    return list(index_folder(tmp_path / "val").pictures)


def model() -> PatchModel:
    torch.manual_seed(3)
    return build("tiny_ladeda", "NPR")


def test_a_model_agrees_with_itself_and_not_with_its_opposite(pictures: list[Picture]) -> None:
    student, same, opposite = model(), model().eval(), model().eval()
    opposite.fc.weight.data.neg_()
    assert correlation(student, [same], pictures, View()) > 0.999
    assert correlation(student, [opposite], pictures, View()) < -0.999
    assert abs(correlation(student, [same, opposite], pictures, View())) < 1e-3
    assert student.training


def test_what_cannot_be_correlated_counts_as_nothing(pictures: list[Picture]) -> None:
    flat = model().eval()
    flat.fc.weight.data.zero_()
    assert correlation(model(), [flat], pictures, View()) == 0
    assert correlation(model(), [build("ladeda33", "NPR").eval()], pictures, View(crop=16)) == 0


def test_ranks_do_not_ask_for_a_straight_line(pictures: list[Picture]) -> None:
    student = model()
    (maps,) = paired_maps(student, [model().eval()], pictures, View())
    bent = [np.stack([m[0], np.sign(m[1]) * np.abs(m[1]) ** 3]) for m in maps]
    found = rank_correlation(bent)
    assert found["patch"] == pytest.approx((1, 1, 1))
    assert found["picture"][0] > 0.9
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(2, 50)).astype(np.float32) for _ in range(30)]
    value, low, high = rank_correlation(noise)["patch"]
    assert -0.15 < low < high < 0.15 and low <= value <= high
    assert rank_correlation([np.zeros((2, 9), np.float32)] * 3) == {}
