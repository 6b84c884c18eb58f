from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import patchwatch
from edge.manifest import Calibration
from tests.training.pictures import ON_CPU, index_folder, write_data
from training.checkpoint import load_checkpoint
from training.commands import train as command
from training.degrade import H264_23, JPEG_75, JPEG_90, UNTOUCHED
from training.evaluation import evaluate
from training.methods import base
from training.methods.labels import LabelTraining

CONFIG = """
name: easy
preprocessing: NPR
steps: 40
batch: 16
rate: 0.03
schedule: cosine
validate_every: 20
policy: {untouched: 1, two: 0}
data: {crop: 32}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), CONFIG, 6, 4)


def _words(data: Path, output: Path, *flags: str) -> list[str]:
    words = ["train", str(data / "c.yaml"), "--data", str(data), "--output", str(output)]
    return [*words, *ON_CPU, *flags]


def _train(data: Path, output: Path, *flags: str) -> int:
    return patchwatch.main(_words(data, output, *flags))


def test_a_short_training_learns_an_easy_difference_and_describes_itself(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(data, tmp_path / "run", "--set", "note=Made up.") == 0
    said = capsys.readouterr().err
    assert "samples a second" in said and "was the best" in said and "Temperature" in said
    model, card = load_checkpoint(tmp_path / "run" / "easy.safetensors")
    pictures = index_folder(data / "val").pictures
    evaluation = evaluate(model, pictures, [UNTOUCHED, JPEG_90])
    assert evaluation.mean_auc([UNTOUCHED]) > 0.9
    figures = {figure.degradation: figure.value for figure in card.validation}
    assert set(figures) == {UNTOUCHED, JPEG_90, JPEG_75, H264_23}
    # The kept weights are those that were measured.
    auc = next(f for f in card.validation if f.degradation == JPEG_90 and "auc" in f.metric)
    assert auc.value == pytest.approx(evaluation.mean_auc([JPEG_90]), abs=1e-3)
    assert card.calibration.bias != 0.0 and card.licence == "none"
    assert "12 photographs (camera-a, camera-b)" in card.training.data
    assert card.training.data.endswith("Made up.")
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        log = list(csv.DictReader(file))
    assert [row["step"] for row in log] == ["20", "40"]
    assert float(log[0][f"auc/{UNTOUCHED}/made-a"]) > 0.5


def test_a_detector_that_is_wrong_on_new_pictures_is_reported_but_not_calibrated(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upside_down = tmp_path / "data"
    (upside_down / "val").mkdir(parents=True)
    (upside_down / "c.yaml").symlink_to(data / "c.yaml")
    (upside_down / "train").symlink_to(data / "train")
    (upside_down / "val" / "0_real").symlink_to(data / "val" / "1_fake")
    (upside_down / "val" / "1_fake").symlink_to(data / "val" / "0_real")
    assert _train(upside_down, tmp_path / "run", "--set", "validate_every=40") == 1
    said = capsys.readouterr().err
    assert "no calibration fits" in said and "AUC" in said
    _, card = load_checkpoint(tmp_path / "run" / "easy.safetensors")
    assert card.calibration == Calibration() and card.validation == ()


def test_a_teacher_trains_on_small_crops(data: Path, tmp_path: Path) -> None:
    flags = ("architecture=ladeda9", "steps=2", "batch=2", "validation.crop=32",
             "validation.per_source=1", "validation.report=[untouched]")  # fmt: skip
    _train(data, tmp_path / "run", "--set", *flags)
    model, card = load_checkpoint(tmp_path / "run" / "easy.safetensors")
    assert model.architecture == "ladeda9" and "middle 32 px" in card.training.data


def test_a_checkpoint_can_be_the_beginning(data: Path, tmp_path: Path) -> None:
    _train(data, tmp_path / "first", "--set", "steps=20")
    init = f"init={tmp_path / 'first' / 'easy.safetensors'}"
    _train(data, tmp_path / "second", "--set", init, "steps=1", "rate=1.0e-9", "policy=null")
    first, second = (load_checkpoint(tmp_path / n / "easy.safetensors")[0] for n in
                     ("first", "second"))  # fmt: skip
    assert torch.allclose(first.fc.weight, second.fc.weight, atol=1e-6)


def test_another_architecture_cannot_be_the_beginning(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(data, tmp_path / "first", "--set", "steps=1")
    flags = (f"init={tmp_path / 'first' / 'easy.safetensors'}", "preprocessing=raw")
    assert _train(data, tmp_path / "second", "--set", *flags) == 2
    assert "expected tiny_ladeda with raw, found tiny_ladeda with NPR" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on_or_is_finished(data: Path, tmp_path: Path) -> None:
    flags = ("--workers", "1", "--set", "steps=100000", "validate_every=5")
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "patchwatch", *_words(data, run, *flags)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for(run / "log.csv", process)
    # To the whole group, as a terminal sends it: the loading processes must not fail the parent.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "Go on with the same command and --resume" in errors
    lines = (run / "log.csv").read_text().splitlines()
    assert _train(data, run, *flags, "--resume", "--finish") in (0, 1)  # 1: not to be calibrated
    assert (run / "log.csv").read_text().splitlines() == lines


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.1)


def test_a_run_never_overwrites_another_and_resumes_only_itself(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert _train(data, run, "--resume") == 2
    assert "expected a started run" in capsys.readouterr().err
    _train(data, run, "--set", "steps=2")
    assert _train(data, run, "--set", "steps=2") == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert _train(data, run, "--resume", "--set", "steps=2", "data.crop=16") == 2
    assert "was started with data.crop 32, found 16" in capsys.readouterr().err
    assert _train(data, run, "--resume", "--set", "steps=4") == 2
    assert "The schedule cosine falls to its last step" in capsys.readouterr().err


def test_a_run_that_has_ended_goes_on_to_more_steps_where_its_rate_does_not_fall(
    data: Path, tmp_path: Path
) -> None:
    runs = (tmp_path / "whole", ("8",)), (tmp_path / "parts", ("4", "8", "8"))
    for run, lengths in runs:
        for place, steps in enumerate(lengths):
            flags = "--set", f"steps={steps}", "schedule=constant", "validate_every=4"
            assert _train(data, run, *flags, *["--resume"] * bool(place)) in (0, 1)
    logs = [(run / "log.csv").read_text() for run, _ in runs]
    assert logs[0] == logs[1] and logs[0].count("\n") == 3
    assert '"steps": 8' in (tmp_path / "parts" / "config.json").read_text()


def test_files_that_vanish_or_break_are_left_out_and_named_up_to_a_bound(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    gone, broken, held = (own / "train/0_real/camera-a/0.png", own / "train/1_fake/made-a/1.jpg",
                          own / "val/1_fake/made-b/0.png")  # fmt: skip

    class Interfering(LabelTraining):
        def on_train_start(self) -> None:
            gone.unlink(missing_ok=True)
            held.unlink(missing_ok=True)
            broken.write_bytes(broken.read_bytes()[:100])

    monkeypatch.setattr(command.run, "__defaults__", (Interfering,))
    flags = ("--set", "steps=20", "data.cache_mb=0", "--workers", "1")
    assert _train(own, tmp_path / "run", *flags) in (0, 1)
    said = capsys.readouterr().err.replace("\n", "")
    assert "3 files are left out" in said and "Traceback" not in said
    assert all(path.name in said for path in (gone, broken, held))
    assert load_checkpoint(tmp_path / "run" / "easy.safetensors")

    monkeypatch.setattr(base, "MOST_LOST", 1)
    assert _train(own, tmp_path / "again", *flags) == 0  # they are left out from the start
    shutil.rmtree(own)
    shutil.copytree(data, own)
    assert _train(own, tmp_path / "third", *flags) == 1
    assert "more than 1 files that were sound at the start" in capsys.readouterr().err
    shutil.rmtree(own)
    shutil.copytree(data, own)

    class Unplugged(LabelTraining):
        def on_train_start(self) -> None:
            shutil.rmtree(own / "train" / "0_real")

    monkeypatch.setattr(command.run, "__defaults__", (Unplugged,))
    assert _train(own, tmp_path / "fourth", *flags) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "DataLoader" not in said and "camera-" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--finish",), "give --resume as well"),
        (("--data", "absent"), "is no folder"),
        (("--set", "data.train=trian"), "no split 'trian'. It has train, val"),
        (("--set", "data.pairs=[absent]"), "the key 'data.pairs' was removed"),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...],
    message: str,
) -> None:  # fmt: skip
    assert _train(data, tmp_path / "run", *flags) in (1, 2)
    said = capsys.readouterr().err
    assert "patchwatch: error: " in said and message in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_pictures_by_class_are_their_classes_sources(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog", "other"):
            (tmp_path / split / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / split / name).symlink_to(data / split)
    (tmp_path / "c.yaml").symlink_to(data / "c.yaml")
    flags = ("steps=1", "data.layout=forensynth", "data.classes=[cat, dog]", "data.resize=32")
    _train(tmp_path, tmp_path / "run", "--set", *flags)
    _, card = load_checkpoint(tmp_path / "run" / "easy.safetensors")
    assert "24 photographs (cat, dog)" in card.training.data
    assert card.region == "resize:32"
