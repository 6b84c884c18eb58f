from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import patchwatch
from edge.errors import ModelError
from tests.training.commands.test_distill import checkpoint
from tests.training.pictures import ON_CPU, write_data
from training.checkpoint import load_checkpoint
from training.methods.base import model_input
from training.patch_set import KeptPatches, read_patches

CONFIG = """
name: pupil
preprocessing: NPR
steps: 6
batch: 2
rate: 0.01
validate_every: 3
policy: null
teaching: {way: patches, patches: 40, agreement: 4}
data: {crop: 26, first_compression: false}
validation: {columns: [untouched], report: [untouched], crop: 32}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_data(tmp_path_factory.mktemp("data"), CONFIG, 3, 2)
    checkpoint(folder / "wide.safetensors", "ladeda9")
    checkpoint(folder / "other.safetensors", "ladeda9")
    words = ["patches", str(folder / "wide.safetensors"), str(folder), "-o",
             str(folder / "k.patches.safetensors"), "--config", str(folder / "c.yaml"),
             "--crops", "12", "--per-crop", "5", "--threads", "1"]  # fmt: skip
    assert patchwatch.main(words) == 0
    return folder


def test_each_kept_patch_has_the_logit_that_its_teacher_gives_it(data: Path) -> None:
    kept = read_patches(data / "k.patches.safetensors")
    assert kept.patches.shape == (60, 10, 10, 3) and set(kept.labels) == {0, 1}
    teacher, _ = load_checkpoint(data / "wide.safetensors")
    # NPR looks up and left within 2×2 pixels alone, and patches begin on even ones.
    with torch.no_grad():
        shown = model_input(torch.from_numpy(np.array(kept.patches)))[:, :, :9, :9]
        again = teacher(shown.contiguous())
    assert np.allclose(again.numpy(), kept.logits, atol=1e-4)
    assert float(np.std(kept.logits)) > 0


def test_the_file_is_safetensors_that_others_can_read(data: Path) -> None:
    kept = read_patches(data / "k.patches.safetensors")
    for name, array in load_file(data / "k.patches.safetensors").items():
        assert np.array_equal(array, getattr(kept, name))


@pytest.mark.parametrize("change", ["cut", "bit", "other"])
def test_a_file_that_is_not_as_it_was_written_is_refused(
    data: Path, tmp_path: Path, change: str
) -> None:
    content = bytearray((data / "k.patches.safetensors").read_bytes())
    if change == "bit":
        content[-500] ^= 1
    made = {"cut": bytes(content[:-40]), "bit": bytes(content), "other": b"\x05\0\0\0\0\0\0\0[1,2]"}
    (tmp_path / "x.patches.safetensors").write_bytes(made[change])
    with pytest.raises(ModelError, match=r"cut short or changed|expected a file of"):
        read_patches(tmp_path / "x.patches.safetensors")


def test_every_patch_is_learned_from_once_before_any_comes_again(data: Path) -> None:
    kept = read_patches(data / "k.patches.safetensors")
    samples = KeptPatches(kept, seed=3)
    logits = [samples[i]["logit"] for i in range(120)]
    assert sorted(logits[:60]) == sorted(logits[60:]) == sorted(map(float, kept.logits))
    assert logits[:60] != logits[60:]


def _distil(data: Path, output: Path, teacher: str) -> int:
    words = ["distill", str(data / "c.yaml"), "--data", str(data), "--teacher", str(data / teacher)]
    words += ["--patches", str(data / "k.patches.safetensors"), "--output", str(output)]
    return patchwatch.main([*words, *ON_CPU])


def test_a_student_learns_from_kept_patches_and_from_no_other_teachers(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _distil(data, tmp_path / "run", "wide.safetensors")
    log = (tmp_path / "run" / "log.csv").read_text().splitlines()
    losses = [float(line.split(",")[1]) for line in log[1:]]
    assert losses[-1] < losses[0]
    patchwatch.main(["patches", str(data / "wide.safetensors"), str(data), "-o", "x.bin"])
    assert "expected a name that ends in .patches.safetensors" in capsys.readouterr().err
    model, card = load_checkpoint(data / "other.safetensors")
    model.fc.weight.data.mul_(2)
    from training.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "other.safetensors", model, card)
    assert _distil(data, tmp_path / "no", str(tmp_path / "other.safetensors")) == 2
    assert "was judged by wide" in capsys.readouterr().err
