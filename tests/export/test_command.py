"""`patchwatch export` as a person calls it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

import patchwatch
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.manifest import METADATA_KEY, Manifest, parse_manifest
from export import parity
from tests.export.models import lively, make_card
from tests.shared_data import shared
from training.checkpoint import save_checkpoint

SMALL = ((1, 24, 24), (1, 9, 11))


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "default_shapes", lambda model: SMALL)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    model = lively("tiny_ladeda", "left_diag")
    save_checkpoint(path, model, make_card(model, name="tiny-1"))
    return path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.pth"
    torch.save(lively("tiny_ladeda", "left_diag").state_dict(), path)
    return path


def export(*words: object) -> int:
    return patchwatch.main(["export", *map(str, words)])


def manifest(path: Path) -> Manifest:
    (entry,) = onnx.load(str(path)).metadata_props
    assert entry.key == METADATA_KEY
    return parse_manifest(entry.value, str(path))


def test_a_checkpoint_of_our_own(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.onnx"
    assert export(checkpoint, "-o", output, "--region", "center:256") == 0
    said = capsys.readouterr().out
    assert "24×24" in said and "9×11" in said and "ok" in said
    assert f"{output}: tiny-1, " in said.replace("\n", "")
    found = manifest(output)
    assert (found.name, found.preprocessing, found.region) == ("tiny-1", "left_diag", "center:256")
    assert found.training.data == "chance"
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "tiny.json", "tiny.safetensors"]


def test_the_published_weights(tmp_path: Path) -> None:
    path = shared("upstream-weights/WildRF_Tiny_LaDeDa.pth")
    output = tmp_path / "wildrf.onnx"
    told = ["--architecture", "tiny_ladeda", "--training-data", "WildRF, published by its authors"]
    assert export(path, "-o", output, *told, "--preprocessing", "right_diag") == 0
    found = manifest(output)
    assert (found.name, found.licence) == ("WildRF_Tiny_LaDeDa", "not stated")
    with OnnxRuntimeBackend(output) as backend:
        (evidence,) = backend.infer(parity.textured((1, 64, 64)))
    assert abs(evidence.logit) > 0.1


def test_a_published_file_must_be_described(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.onnx"
    told: list[str] = []
    for flag, value in (
        ("--architecture", "tiny_ladeda"),
        ("--preprocessing", "NPR"),
        ("--training-data", "a set"),
    ):
        assert export(published, "-o", output, *told) == 2
        assert f"holds weights alone: give {flag}" in capsys.readouterr().err
        told += [flag, value]
    assert export(published, "-o", output, *told, "--name", "mine", "--licence", "MIT") == 0
    found = manifest(output)
    assert (found.name, found.licence, found.training.data) == ("mine", "MIT", "a set")
    assert found.preprocessing == "NPR"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--architecture", "ladeda9"], "--architecture ladeda9: the card of .* tiny_ladeda"),
        (["--preprocessing", "NPR"], "--preprocessing NPR: the card of .* says left_diag"),
        (["--training-data", "x"], "--training-data: the card of .* says it"),
    ],
)
def test_a_flag_does_not_contradict_the_card(
    tmp_path: Path,
    checkpoint: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(checkpoint, "-o", tmp_path / "m.onnx", *words) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "m.onnx").exists()


def test_a_static_shape(tmp_path: Path, checkpoint: Path) -> None:
    output = tmp_path / "m.onnx"
    assert export(checkpoint, "-o", output, "--static", "2x32x48") == 0
    dims = onnx.load(str(output)).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [2, 32, 48, 3]


@pytest.mark.parametrize("shape", ["32x48", "0x8x8", "1x8x", "ax8x8"])
def test_a_static_shape_that_is_none(
    tmp_path: Path, checkpoint: Path, shape: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        export(checkpoint, "-o", tmp_path / "m.onnx", "--static", shape)
    assert "for instance 1x1080x1920" in capsys.readouterr().err


def test_a_static_shape_below_a_patch(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(checkpoint, "-o", tmp_path / "m.onnx", "--static", "1x4x90") == 1
    assert "at least 5×5 pixels, found 4×90" in capsys.readouterr().err


def test_what_exists_is_kept_unless_forced(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.onnx"
    output.write_text("precious")
    assert export(checkpoint, "-o", output) == 1
    assert "exists already. Give --force" in capsys.readouterr().err
    assert output.read_text() == "precious"
    assert export(checkpoint, "-o", output, "--force") == 0
    assert manifest(output).name == "tiny-1"


def test_an_output_of_another_kind(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(checkpoint, "-o", tmp_path / "m.engine") == 2
    assert "ends in .onnx" in capsys.readouterr().err
    (tmp_path / "dir.onnx").mkdir()
    assert export(checkpoint, "-o", tmp_path / "dir.onnx", "--force") == 1
    assert "is a folder" in capsys.readouterr().err


def test_a_missing_checkpoint_and_an_unknown_name(
    tmp_path: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "m.onnx"
    assert export(tmp_path / "none.safetensors", "-o", output) == 1
    assert "none.safetensors cannot be read" in capsys.readouterr().err
    told = ["--training-data", "x", "--preprocessing", "raw", "--architecture"]
    assert export(published, "-o", output, *told, "resnet") == 2
    assert "'resnet' is not known" in capsys.readouterr().err
    assert export(published, "-o", output, *told, "ladeda5") == 1
    assert "no checkpoint of ladeda5" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        export(published, "-o", output, "--region", "middle:9")
    assert "'middle:9' is not known" in capsys.readouterr().err


def test_the_table_is_shown_and_nothing_written_past_the_bound(
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parity, "BOUND", 0.0)
    assert export(checkpoint, "-o", tmp_path / "m.onnx") == 1
    capture = capsys.readouterr()
    assert "too far" in capture.out
    assert "Nothing was written" in capture.err
    assert sorted(os.listdir(tmp_path)) == ["tiny.json", "tiny.safetensors"]


@pytest.mark.parametrize("absent", ["torch", "onnx", "safetensors"])
def test_where_a_library_is_absent(tmp_path: Path, checkpoint: Path, absent: str) -> None:
    script = (
        f"import sys; sys.modules[{absent!r}] = None; import patchwatch; "
        f"sys.exit(patchwatch.main(['export', {str(checkpoint)!r}, '-o', 'm.onnx']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"patchwatch: error: {absent} is needed to export a model, and is not installed. "
        "Run: pip install 'patchwatch[train]'\n"
    )


def test_help_needs_none_of_them(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxruntime'])); "
        "import patchwatch; patchwatch.main(['export', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--preprocessing" in done.stdout and "left_diag" in done.stdout
