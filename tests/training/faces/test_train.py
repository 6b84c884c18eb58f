from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
from torch import Tensor

import patchwatch
from edge.errors import ModelError, UsageError
from tests.training.faces.face_sets import SIDE, face, write_faces
from tests.training.pictures import ON_CPU
from training.checkpoint import load_resnet18
from training.config import load_config
from training.evaluation import Evaluation, Logits
from training.faces.config import FacesConfig
from training.faces.model import score_faces
from training.faces.pictures import ACROSS, draw_grid, title
from training.faces.sets import FaceItem, FaceSet
from training.faces.train import TrainedFaces, spread, train_faces
from training.methods.faces import measured
from training.models import resnet18
from training.settings import Machine

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "training"
QUICK: dict[str, object] = {
    "kind": "faces",
    "name": "quick",
    "size": SIDE,
    "epochs": 2,
    "batch": 8,
    "max_rate": 3e-3,
    "weight_decay": 0.0,
    "dropout": 0.1,
    "init": None,
    "augment": None,
    "grid": 4,
}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """An eighth of the channels: faces here are small, and so is the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet18, "PLANES", (8, 16, 32, 64))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def sets(folder: Path) -> dict[str, FaceSet]:
    base = write_faces(folder / "base", "faceforensics", ("train", "val"))
    augment = write_faces(folder / "augment", "youtube", ("train", "val"), seed=1, faces=5)
    return {"base": base, "augment": augment}


def config(**changes: object) -> FacesConfig:
    return FacesConfig.model_validate({**QUICK, **changes})


def train(
    sets: dict[str, FaceSet], run: Path, changes: dict[str, object] | None = None, **more: object
) -> TrainedFaces:
    options = {"machine": Machine("cpu", 0), **more}
    return train_faces(config(**(changes or {})), sets, run, **options)  # type: ignore[arg-type]


def _lines(run: Path) -> list[dict[str, float]]:
    with (run / "log.csv").open(newline="") as file:
        return [{key: float(x) for key, x in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def easy(sets: dict[str, FaceSet], tmp_path_factory: pytest.TempPathFactory) -> _Run:
    """A training that is long enough for an easy difference."""
    run, scores = tmp_path_factory.mktemp("runs") / "easy", dict[int, float]()
    changes: dict[str, object] = {"epochs": 5, "hidden": 16, "note": "Made up."}
    trained = train(sets, run, changes, licence="CC0", on_epoch=scores.__setitem__)
    return _Run(run, trained, scores)


class _Run(NamedTuple):
    folder: Path
    trained: TrainedFaces
    scores: dict[int, float]


def test_it_learns_an_easy_difference_and_keeps_the_best_epoch(
    easy: _Run, sets: dict[str, FaceSet]
) -> None:
    trained, best = easy.trained, max(easy.scores.values())
    assert trained.code == 0 and trained.failure is None
    assert list(easy.scores) == [1, 2, 3, 4, 5]
    assert trained.score == pytest.approx(best) and best > 0.9
    assert set(trained.figures) == {"base", "augment"}
    assert best == pytest.approx(np.mean([x["auc"] for x in trained.figures.values()]))
    # The kept weights are those that were measured.
    model, _ = load_resnet18(trained.checkpoint)
    for name in sets:
        items = sets[name].items("val")
        logits = score_faces(model, items, SIDE, batch=7)
        assert measured(items, logits)["auc"] == pytest.approx(trained.figures[name]["auc"])


def test_the_card_says_what_it_is_and_how_good(easy: _Run) -> None:
    _, card = load_resnet18(easy.trained.checkpoint)
    assert card.architecture == "resnet18_hidden16" and card.licence == "CC0"
    assert card.region == f"faces:{SIDE}" and card.preprocessing == "raw"
    assert "22 real faces of 4 videos (faceforensics, youtube)" in card.training.data
    assert "12 fake faces of 2 videos (Deepfakes)" in card.training.data
    assert card.training.data.endswith("Made up.")
    figures = {(f.data, f.metric): f.value for f in card.validation}
    for name, values in easy.trained.figures.items():
        of = f"validation faces of {name}"
        assert figures[of, "auc"] == round(values["auc"], 4)
        assert figures[of, "balanced accuracy at logit 0"] == round(values["balanced_accuracy"], 4)
        assert figures[of, "real faces above the threshold"] <= 0.1
    assert card.calibration.temperature != 1.0 and 0 < card.calibration.threshold < 1


def test_each_epoch_leaves_a_line_a_plot_and_a_picture(easy: _Run) -> None:
    lines = _lines(easy.folder)
    assert [line["step"] for line in lines] == [6, 12, 18, 24, 30]
    assert [line["score"] for line in lines] == list(easy.scores.values())
    assert {"loss", "rate", "base/auc", "augment/balanced_accuracy"} <= lines[0].keys()
    assert (easy.folder / "metrics.svg").read_bytes()[:5] == b"<?xml"
    with PillowImage.open(easy.folder / "metrics.png") as plot:
        assert plot.width > 800
    assert [path.name for path in sorted((easy.folder / "faces").iterdir())] == [
        f"epoch-00{n}.png" for n in (1, 2, 3, 4, 5)
    ]


@pytest.mark.slow
def test_a_stopped_training_goes_on(sets: dict[str, FaceSet], tmp_path: Path) -> None:
    changes: dict[str, object] = {"augment": {}, "weight_decay": 0.05, "dropout": 0, "epochs": 3}
    whole = train(sets, tmp_path / "whole", changes)
    stopped = train(sets, tmp_path / "parts", changes, on_epoch=_interrupt_after_first)
    assert stopped.code == 128 + signal.SIGINT and not stopped.figures
    resumed = train(sets, tmp_path / "parts", changes, resume=True)
    assert resumed.code == 0 and resumed.score == pytest.approx(whole.score)
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert _lines(tmp_path / "parts") == _lines(tmp_path / "whole")


def _interrupt_after_first(epoch: int, score: float) -> None:
    if epoch == 1:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_callback_can_end_a_training(sets: dict[str, FaceSet], tmp_path: Path) -> None:
    class _PrunedError(Exception):
        pass

    def prune(epoch: int, score: float) -> None:
        assert (tmp_path / "run" / "quick.safetensors").is_file()  # kept whatever follows
        raise _PrunedError

    with pytest.raises(_PrunedError):
        train(sets, tmp_path / "run", on_epoch=prune)
    assert len(_lines(tmp_path / "run")) == 1


def test_what_cannot_be_calibrated_is_kept_and_said(
    sets: dict[str, FaceSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(evaluation: Evaluation) -> None:
        assert len(evaluation.pictures) == 44
        raise ModelError("no calibration fits.")

    monkeypatch.setattr("training.faces.train.calibrate", refuse)
    trained = train(sets, tmp_path / "run", {"epochs": 1, "grid": 0})
    assert trained.failure == "no calibration fits."
    assert load_resnet18(trained.checkpoint)[1].validation == ()
    assert not (tmp_path / "run" / "faces").exists()


def test_loading_processes_give_the_same(sets: dict[str, FaceSet], tmp_path: Path) -> None:
    changes: dict[str, object] = {
        "epochs": 1, "augment": {}, "grid": 0, "train_set": "augment", "dropout": 0,
    }  # fmt: skip
    runs = [
        train(sets, tmp_path / str(workers), changes, machine=Machine("cpu", workers))
        for workers in (0, 1)
    ]
    assert runs[0].checkpoint.read_bytes() == runs[1].checkpoint.read_bytes()


def test_figures_are_those_of_the_usual_library() -> None:
    rng = np.random.default_rng(0)
    items = [
        FaceItem(Path("x"), int(label), "v", None, "s", "p") for label in rng.integers(0, 2, 60)
    ]
    labels = [item.label for item in items]
    logits: Logits = rng.normal(labels, 1.5) - 0.4
    found = measured(items, logits)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits))
    # What was called AUC of predictions is the balanced accuracy.
    assert found["balanced_accuracy"] == pytest.approx(roc_auc_score(labels, logits > 0))
    assert found["auc"] != pytest.approx(found["balanced_accuracy"], abs=0.01)
    chance = torch.nn.functional.binary_cross_entropy_with_logits
    expected = chance(torch.tensor(logits), torch.tensor(labels, dtype=torch.float64))
    assert found["loss"] == pytest.approx(float(expected))


def test_broken_weights_are_a_sentence(sets: dict[str, FaceSet]) -> None:
    model = resnet18.ResNet18()
    with torch.no_grad():
        cast(Tensor, model.fc[1].bias)[1] = torch.nan
    with pytest.raises(ModelError, match="its logit is nan; expected a finite number"):
        score_faces(model, sets["base"].items("val")[:1], SIDE)
    assert model.training  # left as it came
    assert len(score_faces(model, [], SIDE)) == 0


def test_a_grid_says_what_was_predicted_and_marks_what_is_wrong() -> None:
    assert title(float(np.log(3)), 0) == "0.25, 0.75 | fake | real"
    assert title(-1000.0, 0) == "1.00, 0.00 | real | real"
    faces = [face(seed, False) for seed in range(ACROSS + 1)]
    right = draw_grid(faces, np.full(len(faces), -2.0), [0] * len(faces))
    wrong = draw_grid(faces, np.full(len(faces), 2.0), [0] * len(faces))
    red = np.array([0, 34, 178])
    assert not (right == red).all(-1).any() and (wrong == red).all(-1).any()
    assert right.shape == wrong.shape and right.shape[0] > 2 * 160
    assert draw_grid(faces[:1], np.zeros(1), [1]).shape[1] > 200  # the heading has room


def test_the_same_faces_are_shown_evenly(sets: dict[str, FaceSet]) -> None:
    val = {name: one.items("val") for name, one in sets.items()}
    shown = spread(val, 10)
    assert shown == spread(val, 10) and len(set(shown)) == 10
    counts = [
        sum(val[n][i].label == label and n == s for n, i in shown) for s in val for label in (0, 1)
    ]
    assert sorted(counts) == [2, 2, 3, 3]
    assert len(spread(val, 1000)) == 44 and spread(val, 0) == []


def test_the_shipped_configuration_is_the_original_recipe() -> None:
    shipped = load_config(FacesConfig, CONFIGS / "faces.yaml")
    assert shipped.name == "faces" and shipped.train_set == "both" and shipped.size == 224
    loop = shipped.loop(10_000)
    assert (loop.steps, loop.validate_every) == (20 * 40, 40)
    assert (loop.schedule, loop.rate, loop.weight_decay) == ("one_cycle", 5e-5, 0.1)


def test_every_key_is_described() -> None:
    schema = FacesConfig.model_json_schema()
    parts = [schema, *schema["$defs"].values()]
    named = {k: p for part in parts for k, p in part["properties"].items() if k != "augment"}
    assert all("description" in value for value in named.values())


@pytest.mark.parametrize(
    "wrong", [{"batch": 1}, {"dropout": 1}, {"train_set": "all"}, {"rate": 1}, {"sample_share": 0}]
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(**wrong)


def test_half_precision_needs_a_gpu(sets: dict[str, FaceSet], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        train(sets, tmp_path / "run", {"precision": "fp16"})


def _words(folder: Path, output: Path, *flags: str) -> list[str]:
    (folder / "quick.yaml").write_text(json.dumps({**QUICK, "epochs": 1}))  # JSON is YAML too
    return ["train", str(folder / "quick.yaml"), "--output", str(output), *ON_CPU, *flags]


def test_the_command_trains_on_faces(
    sets: dict[str, FaceSet], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--base", str(folder / "base"), "--augment", str(folder / "augment"))
    words = _words(folder, tmp_path / "run", *given)
    code = patchwatch.main([*words, "--set", "epochs=3", "hidden=16", "max_rate=0.003"])
    said = capsys.readouterr().err
    assert code == 0 and "44 faces to learn from" in said and "was the best" in said
    assert patchwatch.main([*words, "--resume", "--finish"]) == 2  # of another configuration
    again = [*words, "--set", "epochs=3", "hidden=16", "max_rate=0.003", "--resume", "--finish"]
    assert patchwatch.main(again) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "give prepared sets with --base, --augment or --both"),
        (("--data", "x", "--base", "y"), "in place of --data"),
        (("--base", "absent"), "expected a prepared set"),
        (("--base", "absent", "--finish"), "give --resume as well"),
    ],
)
def test_wrong_flags_are_one_sentence(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    said: str,
) -> None:
    assert patchwatch.main(_words(folder, tmp_path / "run", *flags)) in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())


def test_sets_are_for_faces_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = _words(folder, tmp_path / "run", "--base", str(folder / "base"))
    words[1] = str(CONFIGS / "tiny.yaml")
    assert patchwatch.main(words) == 2
    assert "--base is for a configuration of kind faces" in capsys.readouterr().err
