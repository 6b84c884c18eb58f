from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image as PillowImage

from edge.backends import open_backend
from edge.manifest import Figure
from edge.weights import find_model
from patchwatch import main
from tests.fakes import make_manifest
from tests.onnx_files import write_model
from tests.training.evaluation.made import write_video
from tests.training.evaluation.test_scorers import write_checkpoint
from tests.training.pictures import smooth_noise, write_split
from training.calibration import ABOVE, MEAN_AUC, UNSEEN_ABOVE
from training.checkpoint import load_checkpoint
from training.degrade import COLUMNS


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
    assert {MEAN_AUC, ABOVE, UNSEEN_ABOVE} <= metrics
    assert {figure.degradation for figure in card.validation} == set(COLUMNS)
    assert all(figure.data.endswith("made-b), region center:32") for figure in card.validation)
    in_fit = [f.value for f in card.validation if f.metric == ABOVE]
    assert sum(in_fit[1:]) == 0  # untouched pictures are not in the fit
    assert "left out" in capsys.readouterr().out


def test_another_card_can_be_written(data: Path, tmp_path: Path) -> None:
    path = _separating(tmp_path / "c.safetensors", data)
    before = path.with_suffix(".json").read_text()
    other = tmp_path / "new" / "card.json"
    assert main(["calibrate", str(path), str(data), "--output", str(other)]) == 0
    assert path.with_suffix(".json").read_text() == before != other.read_text()


def test_a_model_file_gets_a_new_manifest_and_keeps_its_weights(data: Path, tmp_path: Path) -> None:
    new = tmp_path / "new" / "mine.onnx"
    model = tmp_path / "m.onnx"
    old = Figure(data="before", metric=MEAN_AUC, value=0.5)
    write_model(model, make_manifest(region="center:32", validation=(old,)))
    # The mean of a picture does not tell made-up ones apart: make the generated ones brighter.
    for path in (data / "val" / "1_fake").rglob("*.*"):
        PillowImage.new("RGB", (64, 64), (220, 220, 220)).save(path)
    assert main(["calibrate", str(model), str(data), "--output", str(new)]) == 0
    before, after = onnx.load(str(model)), onnx.load(str(new))
    assert before.graph.SerializeToString() == after.graph.SerializeToString()
    with open_backend(new, threads=1) as backend:
        manifest = backend.manifest
    assert manifest.calibration.bias > 0 and old not in manifest.validation
    assert {"region center:32"} == {f.data.rpartition("), ")[2] for f in manifest.validation}
    assert manifest.model_copy(update={"calibration": 0, "validation": 0}) == make_manifest(
        region="center:32"
    ).model_copy(update={"calibration": 0, "validation": 0})


def test_photographs_alone_move_the_threshold_of_a_shipped_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for index in range(5):
        path = tmp_path / "photos" / "kitchen" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(smooth_noise(rng)).save(path)
    new = tmp_path / "mine.onnx"
    words = ["calibrate", "tiny-ladeda", str(tmp_path / "photos"), "--photographs-only"]
    assert main([*words, "--output", str(new), "--false-alarms", "0.2"]) == 0
    with open_backend(find_model("tiny-ladeda"), threads=1) as backend:
        old = backend.manifest
    with open_backend(new, threads=1) as backend:
        manifest = backend.manifest
    told = capsys.readouterr()
    assert "rests on 5 photographs" in told.err and "Warning: fewer than 50" in told.err
    assert "all generated" not in told.out
    moved = {"threshold": manifest.calibration.threshold}
    assert manifest.calibration == old.calibration.model_copy(update=moved) != old.calibration
    alarms = [f for f in manifest.validation if f.metric == ABOVE]
    assert {f.data for f in alarms} == {"validation pictures (kitchen), at native pixels, whole"}
    degraded = [f.value for f in alarms if f.degradation != "untouched"]
    assert max(degraded) == pytest.approx(0.2)
    kept = [f for f in manifest.validation if f.metric == MEAN_AUC]
    assert kept == [f for f in old.validation if f.metric == MEAN_AUC]


def test_a_video_counts_as_the_moments_that_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (folder := tmp_path / "photos" / "kitchen").mkdir(parents=True)
    PillowImage.fromarray(smooth_noise(rng)).save(folder / "a.png")
    write_video(folder / "b.mp4", [smooth_noise(rng) for _ in range(50)], fps=2)
    new = tmp_path / "mine.onnx"
    words = ["calibrate", "tiny-ladeda", str(tmp_path / "photos"), "--photographs-only"]
    assert main([*words, "--output", str(new)]) == 0
    said = capsys.readouterr().err
    assert "1 videos count as 2 moments, of 10 s each" in said
    assert "rests on 3 photographs and moments, of 2 files" in said


def test_photographs_of_a_data_set_alone(data: Path, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "c.safetensors")
    _, before = load_checkpoint(path)
    assert main(["calibrate", str(path), str(data), "--photographs-only"]) == 0
    _, after = load_checkpoint(path)
    assert after.calibration.bias == before.calibration.bias
    assert {f.metric for f in after.validation} == {ABOVE, UNSEEN_ABOVE}
    assert "(camera-a, camera-b)" in after.validation[0].data


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["m.engine", "DATA"], 2, "expected a checkpoint (.safetensors)"),
        (["m.onnx", "DATA", "--output", "n.onnx"], 2, "neither a file nor a shipped model"),
        (["tiny-ladeda", "DATA"], 2, "is a model file: give a new one that ends in .onnx"),
        (["tiny-ladeda", "DATA", "--output", "BROKEN"], 1, "exists already"),
        (["BROKEN", "DATA", "--output", "n.onnx"], 1, "not an ONNX model"),
        (["C", "ABOVE", "--photographs-only"], 1, "holds generated pictures by its name"),
        (["C", "DATA", "--photographs-only", "--split", "test"], 2, "has no split 'test'"),
        (["absent.safetensors", "DATA"], 1, "absent.safetensors cannot be read"),
        (["C", "nowhere"], 1, "is no folder"),
        (["C", "DATA", "--output", "x.txt"], 2, "NEW.safetensors for a copy"),
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
    (tmp_path / "broken.onnx").write_bytes(b"nonsense")
    places = {
        "DATA": str(data),
        "ABOVE": str(tmp_path),
        "BROKEN": str(tmp_path / "broken.onnx"),
        "C": str(write_checkpoint(tmp_path / "c.safetensors")),
    }
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

    from tests.training.pictures import index_folder
    from training.checkpoint import save_checkpoint
    from training.evaluation import evaluate

    model, card = load_checkpoint(write_checkpoint(path, region="center:32"))
    columns = [name for name in COLUMNS if name != "untouched"]
    evaluation = evaluate(model, index_folder(data / "val").pictures, columns)
    if evaluation.mean_auc(columns) < 0.5:
        with torch.no_grad():
            model.fc.weight.neg_()
            model.fc.bias.neg_()
        save_checkpoint(path, model, card)
    return path
