"""`patchwatch export` as a person calls it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

import patchwatch
from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.manifest import METADATA_KEY, Manifest, parse_manifest
from edge.weights import find_model, variant
from export import compare
from tests.export.models import lively, lively_graph, make_card
from tests.export.test_auc import fill
from tests.shared_data import shared
from training.checkpoint import save_checkpoint

SMALL = ((1, 24, 24), (1, 9, 11))


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "shapes_from", lambda least: SMALL)


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
    assert f"{output}: tiny-1, fp32, " in said
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
        (evidence,) = backend.infer(compare.textured((1, 64, 64)))
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
    ("words", "code", "message"),
    [
        (["--architecture", "ladeda9"], 2, "--architecture ladeda9: the card of .* tiny_ladeda"),
        (["--preprocessing", "NPR"], 2, "--preprocessing NPR: the card of .* says left_diag"),
        (["--training-data", "x"], 2, "--training-data: the card of .* says it"),
        (["--static", "1x4x90"], 1, "at least 5×5 pixels, found 4×90"),
        (["--static", "32x48"], 2, "for instance 1x1080x1920"),
        (["--static", "0x8x8"], 2, "for instance 1x1080x1920"),
        (["--region", "middle:9"], 2, "'middle:9' is not known"),
        (["--precision", "fp16,fp8"], 2, "expected some of fp32, fp16, int8 with commas between"),
        (["--calibration", "x"], 2, "--calibration is for --precision fp16 and int8"),
        (["-o", "m.engine"], 2, "ends in .onnx"),
        (["-o", "."], 2, "ends in .onnx"),
    ],
)
def test_what_a_checkpoint_does_not_take(
    tmp_path: Path,
    checkpoint: Path,
    words: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        found = export(checkpoint, "-o", tmp_path / "m.onnx", *words)
    except SystemExit as exit_:
        found = int(exit_.code or 0)
    assert found == code
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "m.onnx").exists()


def test_a_static_shape(tmp_path: Path, checkpoint: Path) -> None:
    output = tmp_path / "m.onnx"
    assert export(checkpoint, "-o", output, "--static", "2x32x48") == 0
    dims = onnx.load(str(output)).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [2, 32, 48, 3]


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
    (tmp_path / "dir.onnx").mkdir()
    assert export(checkpoint, "-o", tmp_path / "dir.onnx", "--force") == 1
    assert "is a folder" in capsys.readouterr().err
    assert export(checkpoint) == 2
    assert "give a name that ends in .onnx as -o" in capsys.readouterr().err


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


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    pictures = {f"0_real/camera/{i}.png": 40 + i for i in range(3)}
    return fill(tmp_path / "data", pictures | {f"1_fake/gan/{i}.png": 90 + i for i in range(3)})


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save_model(lively_graph(), str(path))
    return path


def precisions(folder: Path) -> dict[str, str]:
    return {path.name: manifest(path).precision for path in sorted(folder.glob("*.onnx"))}


def test_a_checkpoint_in_every_precision(
    tmp_path: Path, checkpoint: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "m.onnx"
    words = ["--precision", "int8,fp32,fp16", "--calibration", photographs]
    assert export(checkpoint, "-o", output, *words, "--labelled", photographs) == 0
    assert precisions(output.parent) == {
        "m.fp16.onnx": "fp16",
        "m.int8.fp16.onnx": "int8",
        "m.int8.onnx": "int8",
        "m.onnx": "fp32",
    }
    said = capsys.readouterr().out
    assert f"{output.parent / 'm.fp16.onnx'}: tiny-1, fp16, " in said
    assert "6 pictures" in said and "AUC int8" in said
    assert manifest(output.parent / "m.int8.onnx").name == "tiny-1"


def test_a_model_file_keeps_its_stem(model_file: Path) -> None:
    before = model_file.read_bytes()
    assert export(model_file, "-o", model_file, "--precision", "fp16") == 0
    assert precisions(model_file.parent) == {"m.fp16.onnx": "fp16", "m.onnx": "fp32"}
    assert model_file.read_bytes() == before
    assert export(model_file, "-o", model_file, "--precision", "fp16") == 1
    assert export(model_file, "-o", model_file, "--precision", "fp16", "--force") == 0


def test_a_shipped_model_is_called_by_its_name(tmp_path: Path) -> None:
    assert export("tiny-ladeda", "-o", tmp_path / "t.onnx", "--precision", "fp16") == 0
    assert manifest(tmp_path / "t.fp16.onnx").name == "tiny-ladeda"
    shipped = find_model("tiny-ladeda")
    beside = variant(shipped, "fp16")
    assert beside is not None
    assert (tmp_path / "t.fp16.onnx").read_bytes() == beside.read_bytes()


def test_nothing_of_a_set_is_replaced_if_one_is_refused(
    tmp_path: Path,
    checkpoint: Path,
    photographs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "BOUNDS", {"fp32": 0.0, "fp16": 1.0, "int8": 0.0})
    for name in ("m.onnx", "m.fp16.onnx"):
        (tmp_path / name).write_text("precious")
    words = ["--precision", "fp32,fp16,int8", "--calibration", photographs]
    assert export(checkpoint, "-o", tmp_path / "m.onnx", *words) == 1
    assert "m.onnx exists already" in capsys.readouterr().err
    assert export(checkpoint, "-o", tmp_path / "m.onnx", *words, "--force") == 1
    captured = capsys.readouterr()
    assert "int8 differs from the float32 file" in captured.err and "too far" in captured.out
    assert "Nothing was written" in captured.err
    for name in ("m.onnx", "m.fp16.onnx"):
        assert (tmp_path / name).read_text() == "precious"
    assert not (tmp_path / "m.int8.onnx").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "is a model file already: say what to make of it"),
        (["--precision", "int8"], "a folder with a hundred or more as --calibration"),
        (["--precision", "fp16", "--static", "1x9x9"], "--static is for checkpoints"),
        (["--precision", "fp16", "--training-data", "x"], "--training-data is for checkpoints"),
    ],
)
def test_what_a_model_file_does_not_take(
    model_file: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(model_file, "-o", model_file, *words) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(model_file.parent) == ["m.onnx"]


def test_a_model_file_needs_no_torch(model_file: Path, photographs: Path) -> None:
    words = ["export", str(model_file), "-o", str(model_file), "--precision", "fp16,int8"]
    words += ["--calibration", str(photographs), "--labelled", str(photographs)]
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'safetensors', 'sklearn'])); "
        f"import patchwatch; sys.exit(patchwatch.main({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(precisions(model_file.parent)) == 4


def test_ctrl_c_leaves_nothing(
    model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(compare, "require", interrupted)
    assert export(model_file, "-o", model_file, "--precision", "fp16") == 130
    assert "interrupted" in capsys.readouterr().err
    assert os.listdir(model_file.parent) == ["m.onnx"]


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
