from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import patchwatch
from edge.errors import ModelError
from tests.training.pairs.photographs import write_photographs
from training.methods.autoencoder import AutoencoderTraining, reconstruction_loss
from training.methods.base import Batch
from training.pairs.autoencoders import SPECS, Autoencoder, load_decoder, quality
from training.trainer import LAST

NAME = "ae4-nearest"
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
    assert "5 photographs" in card.photographs and card.psnr_db > 0 and card.hf_ratio > 0
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--specs", "ae5"), "found 'ae5'"),
        (("--crop", "30"), "--crop: "),
        (("--crop", "128"), "(6 unreadable or too small)"),
        (("--seed", "-1"), "found -1"),
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
    card["spec"]["quantised"] = True
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"no card of an autoencoder: spec\.quantised"):
        load_decoder(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ModelError, match="no card of an autoencoder"):
        load_decoder(path)


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("ae4-transposed", nn.ConvTranspose2d, 2),
        ("ae8-nearest", nn.Upsample, 3),
        ("ae8-bilinear", nn.Upsample, 3),
        ("ae4-pixel-shuffle", nn.PixelShuffle, 2),
    ],
)
def test_an_autoencoder_reduces_by_its_factor_and_up_samples_in_the_named_way(
    name: str, kind: type[nn.Module], count: int
) -> None:
    torch.manual_seed(0)
    model, spec = Autoencoder(SPECS[name]), SPECS[name]
    picture = torch.rand(1, 3, 32, 16)
    side = 32 // spec.factor
    assert model.encoder(picture).shape == (1, spec.latent_channels, side, side // 2)
    assert model(picture).shape == picture.shape
    assert 0.05 < float(model(torch.rand(2, 3, 32, 32)).detach().std()) < 2  # a signal is passed on
    found = [module for module in model.decoder.modules() if isinstance(module, kind)]
    assert len(found) == count
    assert {m.mode for m in found if isinstance(m, nn.Upsample)} <= {name.split("-")[1]}


def test_softness_costs_more_than_its_error() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    assert float(reconstruction_loss(x, x)) == 0
    soft = F.avg_pool2d(x, 3, stride=1, padding=1)
    noisy = x + (soft - x).flip(3)  # of the same error, yet with all the energy
    assert float(reconstruction_loss(x, soft)) > float(reconstruction_loss(x, noisy))


def test_quality_of_a_known_error_and_of_softness() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert quality(grey, grey + np.uint8(1))[0] == pytest.approx(48.1308, abs=1e-3)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    soft = noise.reshape(16, 4, 16, 4, 3).mean((1, 3)).astype(np.uint8)
    assert quality(noise, noise)[1] == pytest.approx(1)
    assert quality(noise, soft.repeat(4, 0).repeat(4, 1))[1] < 0.1
    half = ((noise.astype(int) - 128) // 2 + 128).astype(np.uint8)
    assert quality(noise, half)[1] == pytest.approx(0.25, abs=0.01)
