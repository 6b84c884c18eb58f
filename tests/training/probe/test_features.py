from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import Dataset

from edge.errors import ModelError
from training.data.crops import Sample
from training.models import PatchModel, build
from training.probe import features
from training.probe.features import SampleFeatures, mean_features


class Noise(Dataset[Sample]):
    """Sample i is noise of its own; counts how many were asked for."""

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def __getitem__(self, index: int) -> Sample:
        self.drawn.append(index)
        image = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        return image, index % 2


@pytest.fixture
def model() -> PatchModel:
    return build("fine_s", "raw").eval()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 4)


def _store(model: PatchModel, samples: Noise, folder: Path) -> SampleFeatures:
    return SampleFeatures(model, samples, 10, folder, workers=0)


def test_features_of_samples_are_those_of_their_crops(model: PatchModel, tmp_path: Path) -> None:
    told: list[int] = []
    found, labels = _store(model, Noise(), tmp_path).compute(told.append)
    crops = np.stack([Noise()[index][0] for index in range(10)])
    np.testing.assert_allclose(found, mean_features(model, crops), atol=1e-5)
    assert labels.tolist() == [0, 1] * 5
    assert told == [4, 8, 10]


def test_a_killed_run_computes_only_what_is_missing(model: PatchModel, tmp_path: Path) -> None:
    whole, _ = _store(model, Noise(), tmp_path).compute(lambda _: None)
    (tmp_path / "0000004.npy").unlink()
    samples = Noise()
    again, _ = _store(model, samples, tmp_path).compute(lambda _: None)
    assert samples.drawn == [4, 5, 6, 7]
    np.testing.assert_array_equal(whole, again)


def test_a_broken_block_is_named(model: PatchModel, tmp_path: Path) -> None:
    _store(model, Noise(), tmp_path).compute(lambda _: None)
    (tmp_path / "0000000.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(ModelError, match=r"0000000\.npy cannot be read"):
        _store(model, Noise(), tmp_path).compute(lambda _: None)


def test_a_block_of_another_model_is_named(model: PatchModel, tmp_path: Path) -> None:
    np.save(tmp_path / "0000000.npy", np.zeros((4, 7), np.float32))
    with pytest.raises(ModelError, match="expected rows of"):
        _store(model, Noise(), tmp_path).compute(lambda _: None)
