"""Shipped models and their variants, found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.backends import open_backend
from edge.errors import ModelError
from edge.weights import DEFAULT, FOLDER, TINY, find_model, shipped, variant

FILES = {path.stem for path in FOLDER.glob("*.onnx")}


def test_only_models_are_listed() -> None:
    assert list(shipped()) == sorted([DEFAULT, TINY, "lite0-faces"])
    assert len(FILES) > len(shipped())


def test_every_variant_is_one_of_its_model() -> None:
    for name, path in shipped().items():
        with open_backend(path, threads=1) as backend:
            manifest = backend.manifest
        assert manifest.precision == "fp32"
        for precision in ("fp16", "int8"):
            beside = variant(path, precision)
            if beside is None:
                continue
            assert beside.name == f"{name}.{precision}.onnx"
            with open_backend(beside, threads=1) as backend:
                found = backend.manifest
            assert found.precision == precision and found.validation == ()
            same = {"precision": "fp32", "validation": manifest.validation}
            assert found.model_copy(update=same) == manifest


def test_which_variants_are_shipped() -> None:
    files = {f"{DEFAULT}.fp16", f"{DEFAULT}.int8", f"{DEFAULT}.int8.fp16", f"{TINY}.fp16"}
    assert FILES - set(shipped()) == files
    small = variant(shipped()[DEFAULT], "fp16")
    assert small is not None
    assert small.stat().st_size < 0.51 * shipped()[DEFAULT].stat().st_size


def test_a_variant_lies_beside_its_model(tmp_path: Path) -> None:
    model = tmp_path / "my.model.onnx"
    assert variant(model, "fp16") is None
    (tmp_path / "my.model.fp16.onnx").touch()
    assert variant(model, "fp16") == tmp_path / "my.model.fp16.onnx"
    assert variant(model, "int8") is None


def test_a_model_is_found_by_its_name_or_its_path() -> None:
    assert find_model(TINY) == shipped()[TINY]
    fp16 = variant(shipped()[TINY], "fp16")
    assert fp16 is not None and find_model(str(fp16)) == fp16
    with pytest.raises(ModelError, match=f"{DEFAULT}, {TINY}"):
        find_model(f"{TINY}.fp16")
