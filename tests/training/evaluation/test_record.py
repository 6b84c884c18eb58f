from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.pictures import index_folder, write_split
from training.data.folders import Picture
from training.degrade import JPEG_75, UNTOUCHED
from training.evaluation import Evaluation, auc, evaluate
from training.models import build


def test_auc_counts_pairs_and_halves_ties() -> None:
    assert auc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1.0
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 0.0
    assert auc(np.array([1.0, 0.0]), np.array([1.0])) == 0.75
    rng = np.random.default_rng(0)
    reals = rng.integers(0, 9, 50).astype(np.float64)
    fakes = rng.integers(2, 12, 70).astype(np.float64)
    pairs = np.sign(fakes[:, None] - reals[None]).mean()
    assert auc(reals, fakes) == pytest.approx((pairs + 1) / 2)


def test_each_generator_stands_against_all_photographs() -> None:
    pictures = tuple(
        Picture(Path("a"), label, source)
        for label, source in ((0, "cam"), (0, "phone"), (1, "good"), (1, "bad"), (1, "bad"))
    )
    evaluation = Evaluation(pictures, {UNTOUCHED: np.array([0.0, 2.0, 3.0, 1.0, -1.0])})
    assert evaluation.generator_aucs(UNTOUCHED) == {"bad": 0.25, "good": 1.0}
    assert evaluation.mean_auc([UNTOUCHED]) == 0.625
    assert evaluation.source_names(0) == ["cam", "phone"]


def test_pictures_without_a_logit_are_passed_over() -> None:
    pictures = tuple(Picture(Path("a"), label, "s") for label in (0, 1, 1))
    table = {"x": np.array([0.0, 1.0, np.nan]), "y": np.array([np.inf, 1.0, 2.0])}
    evaluation = Evaluation(pictures, table).finite()
    assert len(evaluation.pictures) == 1 and evaluation.logits["y"].tolist() == [1.0]
    assert np.isnan(evaluation.mean_auc(["x"]))
    assert evaluation.without_source(1, "s").pictures == ()
    assert np.isnan(evaluation.without_source(1, "s").mean_auc(["x"]))


def test_whole_pictures_are_scored_and_the_model_keeps_its_mode(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=1, seed=0)
    pictures = index_folder(tmp_path).pictures
    torch.manual_seed(0)
    model = build("tiny_ladeda", "raw")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seen: list[int] = []
    found = evaluate(model, pictures, [UNTOUCHED, JPEG_75], on_picture=lambda: seen.append(1))
    assert model.training and len(seen) == len(pictures) == 4
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert found.logits[UNTOUCHED].shape == (4,)
    assert not np.allclose(found.logits[UNTOUCHED], found.logits[JPEG_75])
    assert set(found.restricted_to([JPEG_75]).logits) == {JPEG_75}
