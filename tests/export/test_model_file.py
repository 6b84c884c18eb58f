"""A graph is held to the numbers of its checkpoint."""

from __future__ import annotations

import pytest
import torch

from edge.errors import ModelError, RegionError
from export.compare import Row
from export.fold import folded_module
from export.graph import Shape, to_onnx
from export.model_file import graph_of, prove
from tests.export.models import lively, make_card
from training.models import PatchModel

SMALL: tuple[Shape, ...] = ((1, 32, 32), (2, 5, 9))


@pytest.fixture
def model() -> PatchModel:
    return lively("tiny_ladeda", "NPR")


def test_a_change_of_one_weight_is_measured_and_refused(model: PatchModel) -> None:
    proto = to_onnx(folded_module(model))
    told: list[str] = []
    assert all(row.ok for row in prove(model, proto, SMALL, told.append))
    assert told == ["comparing at 32×32", "comparing at 2 × 5×9"]
    with torch.no_grad():
        model.fc.bias.add_(0.01)
    rows: list[Row] = []
    with pytest.raises(
        ModelError, match=r"the checkpoint on 32×32: by 0\.01 in a logit .* Nothing"
    ):
        prove(model, proto, SMALL, measured=rows.extend)
    for row in rows:
        assert row.difference.logit == pytest.approx(0.01, rel=0.01)
        assert row.difference.patch == pytest.approx(0.01, rel=0.01)


def test_the_bound_is_relative_above_one(model: PatchModel) -> None:
    with torch.no_grad():
        model.fc.bias.add_(1000)
    (near,) = prove(model, to_onnx(folded_module(model)), SMALL[:1])
    assert near.difference.logit > 1e-6


def test_a_map_of_another_size_is_refused(model: PatchModel) -> None:
    other = to_onnx(folded_module(lively("ladeda5", "raw")))
    with pytest.raises(ModelError, match="inf in a patch logit"):
        prove(model, other, SMALL)


def test_a_shape_that_the_file_or_the_model_does_not_take(model: PatchModel) -> None:
    static = graph_of(model, make_card(model), "it", (1, 32, 32))
    with pytest.raises(ModelError, match=r"ONNX Runtime refuses \(2, 5, 9, 3\)"):
        prove(model, static, SMALL)
    with pytest.raises(RegionError, match="at least 5×5 pixels, found 4×90"):
        graph_of(model, make_card(model), "it", (1, 4, 90))
