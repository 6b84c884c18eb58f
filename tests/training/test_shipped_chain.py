"""From a fresh clone: what ships is evaluated, learned from and exported by its name alone."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import patchwatch
from edge.manifest import METADATA_KEY
from tests.training.pictures import ON_CPU, write_data
from training.checkpoint import load_checkpoint

CONFIG = """
name: pupil
steps: 2
batch: 2
validate_every: 2
policy: {untouched: 1, two: 0}
teaching: {agreement: 2}
data: {crop: 32, first_compression: false}
validation: {columns: [untouched], calibration: [untouched], report: [untouched], crop: 32}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), CONFIG, 2, 2)


def test_both_are_evaluated(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "ladeda", "tiny-ladeda", str(data / "val"), "--columns", "untouched"]
    assert patchwatch.main([*words, "--threads", "1"]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert {"ladeda", "tiny-ladeda"} <= set(rows)


@pytest.mark.parametrize("way", ["dense", "patches"])
def test_a_student_learns_from_the_teacher(data: Path, tmp_path: Path, way: str) -> None:
    words = ["distill", str(data / "c.yaml"), "--teacher", "ladeda", "--data", str(data), *ON_CPU]
    words += ["--output", str(tmp_path / "run"), "--set", f"teaching.way={way}"]
    patchwatch.main(words)  # two steps separate nothing, which is said with exit code 1
    _, card = load_checkpoint(tmp_path / "run" / "pupil.safetensors")
    assert "patch logits of ladeda (ladeda9 with x_grad" in card.training.data
    assert f"), way {way}, " in card.training.data


@pytest.mark.parametrize(
    ("name", "precisions"),
    [
        ("ladeda", "fp32"),
        ("ladeda-published", "fp32"),
        ("tiny-ladeda", "fp32"),
        ("tiny-distilled", "fp32,fp16,int8"),
        ("tiny-published", "fp32"),
    ],
)
def test_each_is_exported_and_proven(
    name: str, precisions: str, data: Path, tmp_path: Path
) -> None:
    words = ["export", name, "-o", str(tmp_path / "m.onnx"), "--static", "1x48x64"]
    typed = ["--precision", precisions, "--calibration", str(data / "val")]
    assert patchwatch.main([*words, *(typed if precisions != "fp32" else [])]) == 0
    made = {path.name.removeprefix("m.") for path in tmp_path.glob("*.onnx")}
    twins = {"fp16.onnx", "int8.onnx", "int8.fp16.onnx"} if precisions != "fp32" else set()
    assert made == {"onnx", *twins}
    for path in tmp_path.glob("*.onnx"):
        entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert f'"name":"{name}"' in entries[METADATA_KEY].replace(" ", "")
