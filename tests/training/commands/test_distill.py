from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest
import torch

import patchwatch
from edge.manifest import Training
from tests.training.pictures import ON_CPU, write_data
from training.checkpoint import Card, load_checkpoint, save_checkpoint
from training.commands.distill import CORRELATION
from training.models import build

CONFIG = """
name: pupil
preprocessing: NPR  # x_grad is blind to a chequerboard of two pixels
steps: 60
batch: 8
rate: 0.02
schedule: cosine
validate_every: 30
policy: {untouched: 1, two: 0}
data: {crop: 32}
validation: {columns: [untouched], report: [untouched], crop: 32}
"""
PATCHES = ("teaching.way=patches", "teaching.patches=24", "batch=2")


def checkpoint(path: Path, architecture: str) -> Path:
    """A model with its first weights; never trained."""
    torch.manual_seed(7)
    card = Card(
        name=path.stem, architecture=architecture, preprocessing="NPR",
        training=Training(data="nothing"), licence="none",
    )  # fmt: skip
    model = build(architecture, "NPR")
    save_checkpoint(path, model, card)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, the configuration and a small teacher that was trained on them."""
    folder = write_data(tmp_path_factory.mktemp("data"), CONFIG, 6, 4)
    words = ["train", str(folder / "c.yaml"), "--data", str(folder), *ON_CPU]
    words += ["--output", str(folder / "run"), "--set", "name=teacher", "seed=5"]
    assert patchwatch.main(words) == 0
    checkpoint(folder / "wide.safetensors", "ladeda9")
    return folder


def _words(data: Path, teacher: str, output: Path, *flags: str) -> list[str]:
    places = ("--data", str(data), "--teacher", str(data / teacher), "--output", str(output))
    return ["distill", str(data / "c.yaml"), *places, *ON_CPU, *flags]


def _distil(data: Path, teacher: str, output: Path, *flags: str) -> int:
    return patchwatch.main(_words(data, teacher, output, *flags))


SMALL = "run/teacher.safetensors"


def test_a_student_comes_to_agree_with_its_teacher_and_says_who_it_was(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = ("teaching.weight=0.8", "teaching.agreement=8")
    assert _distil(data, SMALL, tmp_path / "run", "--set", *mixed) == 0
    assert "Correlation with the teacher's patch logits" in capsys.readouterr().err
    _, card = load_checkpoint(tmp_path / "run" / "pupil.safetensors")
    figures = {figure.metric: figure.value for figure in card.validation}
    assert figures[CORRELATION] > 0.8 and figures["mean auc per generator"] > 0.9
    sha256 = hashlib.sha256((data / SMALL).read_bytes()).hexdigest()
    assert "patch logits of teacher (tiny_ladeda with NPR" in card.training.data
    assert "), way dense, on " in card.training.data
    assert sha256 in card.training.data and card.calibration.bias != 0.0
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        log = [{key: float(x) for key, x in row.items()} for row in csv.DictReader(file)]
    assert log[-1]["loss"] < log[0]["loss"]
    best = max(log, key=lambda row: row["score"])
    assert best["correlation"] == pytest.approx(figures[CORRELATION], abs=1e-3)


def test_a_clean_teacher_and_a_second_one(data: Path, tmp_path: Path) -> None:
    settings = ("teaching.sees=clean", "teaching.agreement=0", "steps=2",
                "policy={untouched: 0, two: 0, single: {jpeg: 1}}")  # fmt: skip
    second = ("--teacher", str(data / "wide.safetensors"))
    _distil(data, SMALL, tmp_path / "run", *second, "--set", *settings)
    _, card = load_checkpoint(tmp_path / "run" / "pupil.safetensors")
    assert " and wide (ladeda9 with NPR" in card.training.data
    assert all(figure.metric != CORRELATION for figure in card.validation)


def test_patches_are_learned_from_a_wide_teacher(data: Path, tmp_path: Path) -> None:
    flags = ("--set", *PATCHES, "steps=4", "validate_every=2", "teaching.agreement=2")
    _distil(data, "wide.safetensors", tmp_path / "run", *flags)
    _, card = load_checkpoint(tmp_path / "run" / "pupil.safetensors")
    assert "patch logits of wide (ladeda9 with NPR" in card.training.data
    assert "), way patches, without labels, on " in card.training.data


def test_a_run_is_not_resumed_with_another_teacher(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, run = checkpoint(tmp_path / "t.safetensors", "tiny_ladeda"), tmp_path / "run"
    flags = ("--set", "steps=1", "teaching.agreement=0")
    _distil(data, str(teacher), run, *flags)
    model, card = load_checkpoint(teacher)
    model.fc.bias.data += 1
    save_checkpoint(teacher, model, card)
    assert _distil(data, str(teacher), run, *flags, "--resume") == 2
    assert "was started with teaching.sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("teacher", "settings", "message"),
    [
        (SMALL, ("teaching.way=patches",), "expected a teacher that sees 9×9 pixels, found 5×5"),
        ("wide.safetensors", ("data.crop=8",), "of at least 9×9 pixels, found data.crop 8"),
        ("wide.safetensors", ("data.crop=9", "teaching.way=patches"), "at least 10×10"),
        ("wide.safetensors", ("architecture=ladeda17", "teaching.way=patches"),
         "expected a student that sees at most 10×10 pixels, found 17×17"),
        ("wide.safetensors", ("teaching.sha256=[abc]",), "teaching.sha256: expected abc, found"),
        ("absent.safetensors", (), "absent.safetensors"),
        ("wide.safetensors", ("teaching.way=pathces",), "teaching.way"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], teacher: str,
    settings: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    flags = ("--set", *settings) if settings else ()
    assert _distil(data, teacher, tmp_path / "run", *flags) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("patchwatch: error: ") and message in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_teacher_must_be_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["distill", str(data / "c.yaml"), "--data", str(data), "--output",
             str(tmp_path / "run"), "--licence", "none"]  # fmt: skip
    assert patchwatch.main(words) == 2
    assert "no teacher is named. Give --teacher FILE" in capsys.readouterr().err


def test_a_published_file_can_teach(data: Path, tmp_path: Path) -> None:
    torch.save(build("tiny_ladeda", "raw").state_dict(), tmp_path / "old.pth")
    flags = ("teaching.architecture=tiny_ladeda", "teaching.preprocessing=raw", "steps=1",
             "teaching.agreement=0")  # fmt: skip
    _distil(data, str(tmp_path / "old.pth"), tmp_path / "run", "--set", *flags)
    _, card = load_checkpoint(tmp_path / "run" / "pupil.safetensors")
    assert "old (tiny_ladeda with raw, sha256 " in card.training.data
