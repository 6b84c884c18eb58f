"""Parity: what it compares, how it judges, and that nothing is written past the bound."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.errors import ModelError, SinkError
from export import model_file, parity
from export.fold import folded_module
from export.graph import Shape, to_onnx
from export.model_file import export_model
from export.parity import Parity, default_shapes, measure, require, table, textured
from tests.export.models import lively, make_card
from training.models import PatchModel

SMALL: tuple[Shape, ...] = ((1, 32, 32), (2, 5, 9))


@pytest.fixture
def model() -> PatchModel:
    return lively("tiny_ladeda", "NPR")


def test_a_change_of_one_weight_is_measured(model: PatchModel) -> None:
    data = to_onnx(folded_module(model)).SerializeToString()
    assert all(row.ok for row in measure(model, data, SMALL))
    with torch.no_grad():
        model.fc.bias.add_(0.01)
    rows = measure(model, data, SMALL)
    assert [row.shape for row in rows] == list(SMALL)
    for row in rows:
        assert row.logit == pytest.approx(0.01, rel=0.01)
        assert row.patch == pytest.approx(0.01, rel=0.01)
        assert not row.ok
    with pytest.raises(ModelError, match=r"at 32×32: by 1\.0e-02 in a logit .* Nothing was writ"):
        require(rows)


def test_a_map_of_another_size_is_refused(model: PatchModel) -> None:
    data = to_onnx(folded_module(lively("ladeda5", "raw"))).SerializeToString()
    with pytest.raises(ModelError, match=r"a map of \(1, 4, 4\) at 32×32, the checkpoint one of"):
        measure(model, data, SMALL)


def test_a_file_that_onnx_runtime_refuses(model: PatchModel) -> None:
    with pytest.raises(ModelError, match="ONNX Runtime refuses the model file"):
        measure(model, b"no graph", SMALL)
    static = to_onnx(folded_module(model), (1, 32, 32)).SerializeToString()
    with pytest.raises(ModelError, match=r"ONNX Runtime refuses \(2, 5, 9, 3\)"):
        measure(model, static, SMALL)


def test_the_bound_is_absolute_to_one_and_relative_above(model: PatchModel) -> None:
    data = to_onnx(folded_module(model)).SerializeToString()
    with torch.no_grad():
        model.fc.bias.add_(1000)
        expected = folded_module(model)
    shifted = to_onnx(expected).SerializeToString()
    (near,) = measure(model, shifted, SMALL[:1])
    assert near.ok
    (far,) = measure(model, data, SMALL[:1])
    assert far.logit_scaled == pytest.approx(1, rel=0.1)


def test_not_a_number_is_not_ok() -> None:
    assert not Parity((1, 8, 8), math.nan, 0, math.nan, 0).ok
    assert not Parity((1, 8, 8), 0, math.inf, 0, math.inf).ok
    assert Parity((1, 8, 8), 0.5, 0.5, 1e-5, 1e-5).ok


def test_the_shapes_are_square_odd_tiny_batched_and_1080p(model: PatchModel) -> None:
    shapes = default_shapes(model)
    assert {(1, 256, 256), (1, 255, 257), (1, 5, 5), (1, 1080, 1920)} <= set(shapes)
    assert any(pictures > 1 for pictures, _, _ in shapes)


def test_the_pictures_have_texture_and_clipped_parts() -> None:
    frames = textured((2, 120, 200))
    assert frames.shape == (2, 120, 200, 3) and frames.dtype == np.uint8
    assert {0, 255} <= set(np.unique(frames))
    assert len(np.unique(frames)) > 200
    assert not np.array_equal(frames[0], frames[1])


def test_the_table_shows_each_shape_and_the_verdict() -> None:
    rows = [Parity((1, 5, 7), 1e-7, 2e-6, 1e-7, 1e-6), Parity((2, 9, 9), 1, 2, 3, 4)]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(rows))
    first, second = (line for line in capture.get().splitlines() if "×" in line)
    assert "5×7" in first and "1.0e-07" in first and "2.0e-06" in first and "ok" in first
    assert "2 × 9×9" in second and "too far" in second


def test_an_exported_file_runs_on_the_device(tmp_path: Path, model: PatchModel) -> None:
    path = tmp_path / "new" / "model.onnx"
    seen: list[Shape] = []
    export_model(model, make_card(model), path, shapes=SMALL, starting=seen.append)
    assert seen == list(SMALL)
    assert os.listdir(path.parent) == ["model.onnx"]
    frames = textured((2, 40, 31))
    with OnnxRuntimeBackend(path) as backend:
        assert backend.manifest.name == "lively"
        found = backend.infer(frames)
    with torch.no_grad():
        logits, patches = folded_module(model)(torch.from_numpy(frames))
    for evidence, logit, patch in zip(found, logits, patches, strict=True):
        assert evidence.logit == pytest.approx(logit.item(), abs=1e-5)
        assert evidence.patch_logits is not None
        np.testing.assert_allclose(evidence.patch_logits, patch.numpy(), atol=1e-5)


def test_nothing_is_written_past_the_bound(
    tmp_path: Path, model: PatchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"precious")
    monkeypatch.setattr(parity, "BOUND", 0.0)
    rows: list[Parity] = []
    with pytest.raises(ModelError, match="Nothing was written"):
        export_model(model, make_card(model), path, shapes=SMALL, measured=rows.extend)
    assert len(rows) == len(SMALL)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_faulty_graph_is_not_written(
    tmp_path: Path, model: PatchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "embed", lambda proto, manifest: None)
    with pytest.raises(ModelError, match="expected one manifest"):
        export_model(model, make_card(model), tmp_path / "model.onnx", shapes=SMALL)
    assert not os.listdir(tmp_path)


def test_an_unwritable_place_is_named(tmp_path: Path, model: PatchModel) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"model\.onnx cannot be written"):
        export_model(model, make_card(model), tmp_path / "file" / "model.onnx", shapes=SMALL)
