from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.pictures import write_split
from training.data.folders import Picture, index_folder
from training.methods.distill import correlation
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
