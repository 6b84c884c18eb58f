from __future__ import annotations

from pathlib import Path

import pytest

from patchwatch import main
from tests.training.evaluation.test_scorers import write_checkpoint
from tests.training.pictures import write_split
from training.checkpoint import load_checkpoint
from training.evaluation.columns import COLUMNS
from training.evaluation.figures import FALSE_ALARMS, MEAN_AUC, UNSEEN_ALARMS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_split(tmp_path / "data" / "val", per_source=3, seed=0)
    return tmp_path / "data"


def test_the_card_gets_calibration_and_figures_and_the_weights_stay(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _separating(tmp_path / "c.safetensors", data)
    weights = path.read_bytes()
    assert main(["calibrate", str(path), str(data), "--false-alarms", "0"]) == 0
    _, card = load_checkpoint(path)
    assert card.calibration.bias != 0.1 and path.read_bytes() == weights
    metrics = {figure.metric for figure in card.validation}
    assert {MEAN_AUC, FALSE_ALARMS, UNSEEN_ALARMS} <= metrics
    assert {figure.degradation for figure in card.validation} == set(COLUMNS)
    in_fit = [f.value for f in card.validation if f.metric == FALSE_ALARMS]
    assert sum(in_fit[1:]) == 0  # untouched pictures are not in the fit
    assert "left out" in capsys.readouterr().out


def test_another_card_can_be_written(data: Path, tmp_path: Path) -> None:
    path = _separating(tmp_path / "c.safetensors", data)
    before = path.with_suffix(".json").read_text()
    other = tmp_path / "new" / "card.json"
    assert main(["calibrate", str(path), str(data), "--output", str(other)]) == 0
    assert path.with_suffix(".json").read_text() == before != other.read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["m.onnx", "DATA"], 2, "expected a checkpoint (.safetensors)"),
        (["absent.safetensors", "DATA"], 1, "absent.safetensors cannot be read"),
        (["C", "nowhere"], 1, "is no folder"),
        (["C", "DATA", "--output", "x.txt"], 2, "ending in .json"),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    places = {"DATA": str(data), "C": str(write_checkpoint(tmp_path / "c.safetensors"))}
    assert main(["calibrate", *(places.get(word, word) for word in words)]) == code
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_a_share_is_a_share(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "c.safetensors", ".", "--false-alarms", "5"])
    assert "expected a share from 0 to below 1" in capsys.readouterr().err


def _separating(path: Path, data: Path) -> Path:
    """Random weights with their sign turned so that generated pictures score higher."""
    import torch

    from training.checkpoint import save_checkpoint
    from training.data.folders import index_folder
    from training.evaluation import evaluate

    model, card = load_checkpoint(write_checkpoint(path))
    columns = [name for name in COLUMNS if name != "untouched"]
    evaluation = evaluate(model, index_folder(data / "val").pictures, columns)
    if evaluation.mean_auc(columns) < 0.5:
        with torch.no_grad():
            model.fc.weight.neg_()
            model.fc.bias.neg_()
        save_checkpoint(path, model, card)
    return path
