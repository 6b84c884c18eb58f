from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.manifest import Training
from training import shipped
from training.checkpoint import Card, load_checkpoint, save_checkpoint
from training.commands.train import first_model
from training.config import DistillConfig, TrainConfig
from training.evaluation.calibrate import _opened
from training.evaluation.scorers import ModelOptions, open_scorer
from training.methods.distill import load_teachers
from training.models import build


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that ships, and no model file of that name."""
    card = Card(
        name="teacher", architecture="ladeda9", preprocessing="x_grad",
        training=Training(data="nothing"), licence="none",
    )  # fmt: skip
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(path, build("ladeda9", "x_grad"), card)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return path


def test_a_shipped_checkpoint_goes_by_its_name(teacher: Path) -> None:
    name = Path("teacher")
    assert load_checkpoint(name)[1].name == "teacher"
    config = TrainConfig(
        name="a", steps=1, init=name, architecture="ladeda9", preprocessing="x_grad"
    )
    assert first_model(config).architecture == "ladeda9"
    # Its patches are 9×9 pixels of what its preprocessing gives, though that looks one further.
    taught = {"way": "patches", "teachers": [name]}
    distilled = DistillConfig.model_validate({"name": "b", "steps": 1, "teaching": taught})
    (found,) = load_teachers(distilled, build("tiny_ladeda", "x_grad"))
    assert found.name == "teacher"
    with open_scorer("teacher", ModelOptions()) as scorer:
        assert scorer.facts.file == "teacher.safetensors"


def test_a_calibration_never_replaces_the_card_of_one_that_ships(
    teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"expected NEW.safetensors for a copy"):
        _opened("teacher", None)
    assert _opened("teacher", tmp_path / "mine.safetensors")[1] == tmp_path / "mine.json"
    assert _opened(str(teacher), None)[1] == teacher.with_suffix(".json")
