from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import patchwatch
from edge.errors import ModelError
from tests.training.pairs.photographs import write_photographs
from training.methods.autoencoder import AutoencoderTraining
from training.methods.base import Batch
from training.pairs.autoencoders import SPECS
from training.pairs.decoder_file import load_decoder
from training.trainer import LAST

NAME = "vq4-nearest"
FLAGS = ("--crop", "32", "--batch", "2", "--threads", "1", "--seed", "3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("data"))


def words(data: Path, output: Path, *flags: str) -> list[str]:
    return ["pairs", "train", str(data), "--output", str(output), *FLAGS, *flags]


def go(data: Path, output: Path, *flags: str) -> int:
    return patchwatch.main(words(data, output, *flags))


def test_the_decoder_is_kept_with_its_figures_and_not_trained_twice(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--specs", "ae4-nearest,ae8-bilinear", "--steps", "3")
    assert go(data, tmp_path, *flags) == 0
    model, card = load_decoder(tmp_path / "ae8-bilinear.safetensors")
    assert card.spec == SPECS["ae8-bilinear"] == model.spec and not model.training
    assert (card.steps, card.held_out, card.crop, card.seed) == (3, 1, 32, 3)
    assert "3 camera-a" in card.photographs and card.psnr_db > 0 and card.hf_ratio > 0
    assert not list(tmp_path.glob("*.run"))
    capsys.readouterr()
    assert go(data, tmp_path, *flags) == 0
    assert capsys.readouterr().err.count("is finished already") == 2


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--specs", NAME, "--steps", "20")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert go(data, whole, *flags) == 0
    losses = re.findall(r"loss ([\d.]+)", capsys.readouterr().err)
    assert float(losses[-1]) < 0.8 * float(losses[0])
    # Saved after every step, and killed as soon as a checkpoint lies there.
    command = [sys.executable, "-m", "patchwatch", *words(data, broken, *flags)]
    process = subprocess.Popen([*command, "--save-every", "0"], stderr=subprocess.DEVNULL)
    state, give_up = broken / f"{NAME}.run" / LAST, time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.005)
    process.kill()
    assert process.wait() in (-signal.SIGKILL, 0)  # a fast machine may finish
    assert go(data, broken, *flags) == 0
    one, other = (load_file(folder / f"{NAME}.safetensors") for folder in (whole, broken))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_ctrl_c_saves_and_the_same_command_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--specs", NAME, "--steps", "40")
    with monkeypatch.context() as patch:
        step = AutoencoderTraining.training_step

        def interrupted(self: AutoencoderTraining, batch: Batch, index: int) -> Tensor:
            if self.global_step == 9:
                signal.raise_signal(signal.SIGINT)
            return step(self, batch, index)

        patch.setattr(AutoencoderTraining, "training_step", interrupted)
        assert go(data, tmp_path, *flags) == 130
    errors = capsys.readouterr().err
    assert "after step 10" in errors and "goes on from here" in errors
    assert go(data, tmp_path, *flags) == 0
    assert "step 4:" not in capsys.readouterr().err
    assert load_decoder(tmp_path / f"{NAME}.safetensors")[1].steps == 40


def test_a_state_of_an_earlier_version_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(data, tmp_path, "--specs", NAME, "--steps", "1") == 0
    (tmp_path / f"{NAME}.state.safetensors").touch()
    assert go(data, tmp_path, "--specs", NAME, "--steps", "1") == 2
    assert "of an earlier version" in capsys.readouterr().err


def test_minutes_end_it_too(data: Path, tmp_path: Path) -> None:
    assert go(data, tmp_path, "--specs", "ae4-nearest", "--minutes", "0.002") == 0
    assert 0 < load_decoder(tmp_path / "ae4-nearest.safetensors")[1].steps < 1000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--specs", "ae5"), "found 'ae5'"),
        (("--crop", "30"), "--crop: found 30"),
        (("--crop", "128"), "0 photographs of at least 128×128"),
        (("--minutes", "0"), "--minutes: found 0"),
        (("--seed", "-1"), "--seed: found -1"),
    ],
)
def test_a_mistake_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...],
    message: str,
) -> None:  # fmt: skip
    assert go(data, tmp_path / "run", *flags) in (1, 2)
    said = capsys.readouterr().err
    assert "patchwatch: error: " in said and message in said and "Traceback" not in said


def test_other_settings_need_another_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(data, tmp_path, "--specs", "ae4-nearest", "--steps", "1") == 0
    assert go(data, tmp_path, "--specs", "ae4-nearest", "--steps", "2") == 2
    assert "was started with --steps 1, found 2" in capsys.readouterr().err


def test_no_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photographs(tmp_path / "train")
    assert go(tmp_path, tmp_path / "out") == 1
    assert "Name one of its splits: train" in capsys.readouterr().err


def test_a_broken_card_or_weights_of_another(data: Path, tmp_path: Path) -> None:
    go(data, tmp_path, "--specs", "ae4-nearest", "--steps", "1")
    path = tmp_path / "ae4-nearest.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    card["spec"]["width"] = 16
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="does not hold the weights"):
        load_decoder(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ModelError, match="no card of an autoencoder"):
        load_decoder(path)
