"""Models composed of layers fold layer by layer, at any size and for every preprocessing."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from edge.errors import UsageError
from export.fold import folded_module
from export.graph import to_onnx
from export.lint import lint
from export.model_file import export_model
from export.parity import measure
from tests.export.models import lively, make_card
from tests.export.test_fold import worst
from training.models import build

SHAPES = ((1, 31, 31), (2, 49, 64), (1, 63, 90))


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [
        ("lite0_s8", "raw"),
        ("lite0_s8", "x_grad"),
        ("lite0_s16", "raw"),
        ("fine_s", "raw"),
        ("fine_s", "NPR"),
        ("fine_m", "NPR"),
        ("fine_m", "y_grad"),
        ("fine_l", "raw"),
        ("experts", "raw"),
        ("gated_experts_deviation", "x_grad"),
    ],
)
def test_it_folds_exactly_at_any_size(architecture: str, preprocessing: str) -> None:
    model = lively(architecture, preprocessing)
    proto = to_onnx(folded_module(model))
    assert worst(measure(model, proto.SerializeToString(), SHAPES)) < 2e-5
    assert not {"BatchNormalization", "Pad", "Shape", "Identity"} & {
        node.op_type for node in proto.graph.node
    }


def test_the_learned_weight_of_the_deviation_is_exported() -> None:
    model = lively("fine_s_deviation", "raw")
    with torch.no_grad():
        model.state_dict()["pooling.weight"].fill_(0.7)
    data = to_onnx(folded_module(model)).SerializeToString()
    assert worst(measure(model, data, SHAPES)) < 2e-5


@pytest.mark.parametrize("architecture", ["lite0_s8", "experts", "fine_s"])
def test_what_is_written_passes_the_lint(tmp_path: Path, architecture: str) -> None:
    # Fresh weights: many are equal, and the exporter keeps equal ones once.
    model = build(architecture, "raw")
    path = tmp_path / "model.onnx"
    export_model(model, make_card(model), path, shapes=SHAPES[:1])
    assert lint(onnx.load_model(str(path))) == []


def test_folding_leaves_the_model_alone() -> None:
    model = lively("experts", "raw")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded_module(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_mid_grey_is_subtracted_only_where_there_is_a_border() -> None:
    for architecture, expected in (("lite0_s8", True), ("fine_s", False)):
        graph = to_onnx(folded_module(lively(architecture, "raw"))).graph
        assert ("Sub" in {node.op_type for node in graph.node}) == expected


def test_the_highest_share_is_written_for_one_size(tmp_path: Path) -> None:
    model = lively("fine_s_top10", "raw")
    path = tmp_path / "model.onnx"
    with pytest.raises(UsageError, match="Give --static NxHxW"):
        export_model(model, make_card(model), path)
    export_model(model, make_card(model), path, static=(1, 40, 51))
    assert "TopK" in {node.op_type for node in onnx.load_model(str(path)).graph.node}
