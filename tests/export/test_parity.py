"""Parity: what it compares, how it judges and how it shows that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rich.console import Console

from edge.errors import ModelError
from export.differences import Difference
from export.fold import folded_module
from export.graph import Shape, to_onnx
from export.parity import Parity, default_shapes, measure, require, table, textured
from tests.export.models import lively
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
        assert row.difference.logit == pytest.approx(0.01, rel=0.01)
        assert row.difference.patch == pytest.approx(0.01, rel=0.01)
        assert not row.ok
    with pytest.raises(ModelError, match=r"at 32×32: by 0\.01 in a logit .* Nothing was writ"):
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
    rows = [
        Parity((1, 5, 7), Difference(1e-7, 2e-6, 1e-7, 1e-6)),
        Parity((2, 9, 9), Difference(1, 2, 3, 4)),
    ]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(rows))
    first, second = (line for line in capture.get().splitlines() if "×" in line)
    assert "5×7" in first and "1.0e-07" in first and "2.0e-06" in first and "ok" in first
    assert "2 × 9×9" in second and "too far" in second
