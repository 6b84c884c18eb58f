"""Folding changes the graph and none of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edge.errors import ModelError
from export.fold import folded_module
from export.graph import to_onnx
from export.naive import naive_module
from export.parity import Parity, measure, textured
from export.tiny import pack_inputs, pack_outputs
from tests.export.models import lively
from training.models import PREPROCESSINGS, PatchModel

ODD_SIZES = ((1, 5, 5), (1, 6, 5), (1, 5, 8), (2, 23, 36), (1, 40, 31), (1, 33, 33), (1, 64, 66))


def worst(rows: list[Parity]) -> float:
    return max(max(row.logit_scaled, row.patch_scaled) for row in rows)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_tiny_folds_exactly_at_any_size(preprocessing: str) -> None:
    model = lively("tiny_ladeda", preprocessing)
    data = to_onnx(folded_module(model)).SerializeToString()
    assert worst(measure(model, data, ODD_SIZES)) < 1e-5


@pytest.mark.parametrize("preprocessing", ["NPR", "right_diag"])
def test_ladeda_folds_exactly_at_any_size(preprocessing: str) -> None:
    model = lively("ladeda9", preprocessing)
    data = to_onnx(folded_module(model)).SerializeToString()
    shapes = ((1, 9, 9), (1, 10, 13), (1, 64, 96), (2, 27, 34))
    assert worst(measure(model, data, shapes)) < 1e-5


@pytest.mark.parametrize("architecture", ["ladeda5", "ladeda33"])
def test_every_receptive_field_folds(architecture: str) -> None:
    model = lively(architecture, "left_diag")
    frames = torch.from_numpy(textured((1, 49, 58)))
    with torch.no_grad():
        for found, expected in zip(
            folded_module(model)(frames), naive_module(model)(frames), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
def test_the_order_of_the_colours_is_bgr(preprocessing: str) -> None:
    model = lively("tiny_ladeda", preprocessing)
    frames = np.zeros((1, 9, 9, 3), np.uint8)
    frames[0, 4, 5, 0] = 250  # blue
    rgb = torch.zeros(1, 3, 9, 9)
    rgb[0, 2, 4, 5] = 250 / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = model((rgb - mean[:, None, None]) / std[:, None, None])
        for module in (folded_module(model), naive_module(model)):
            logit, _ = module(torch.from_numpy(frames))
            torch.testing.assert_close(logit, expected, rtol=1e-4, atol=1e-5)


def test_folding_leaves_the_model_alone() -> None:
    model = lively("tiny_ladeda", "NPR")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded_module(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_folding_is_worth_it() -> None:
    model = lively("tiny_ladeda", "left_diag")
    naive, folded = (to_onnx(make(model)) for make in (naive_module, folded_module))
    assert [node.op_type for node in folded.graph.node] == [
        *("Cast", "Transpose", "Sub", "Conv", "Conv", "Relu", "Conv", "Relu", "Conv", "Relu"),
        *("Conv", "Constant", "Squeeze", "ReduceMean", "ReduceMean"),
    ]
    assert len(naive.graph.node) > len(folded.graph.node)


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [*(("tiny_ladeda", name) for name in PREPROCESSINGS), ("ladeda9", "NPR")],
)
def test_no_folded_graph_looks_at_a_shape(architecture: str, preprocessing: str) -> None:
    graph = to_onnx(folded_module(lively(architecture, preprocessing))).graph
    assert not {"Shape", "Gather", "If", "Loop", "Pad"} & {node.op_type for node in graph.node}


@pytest.mark.parametrize("packing", [(1, 2), (2, 2)])
def test_a_packed_pair_of_convolutions_is_the_pair(packing: tuple[int, int]) -> None:
    first = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    second = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    x = torch.randn(1, 3, 12, 14, dtype=torch.float64)
    expected = nn.functional.conv2d(nn.functional.conv2d(x, first), second, stride=2)
    packed = nn.functional.conv2d(x, pack_outputs(first, packing), stride=packing)
    stride = (2 // packing[0], 2 // packing[1])
    found = nn.functional.conv2d(packed, pack_inputs(second, packing), stride=stride)
    torch.testing.assert_close(found, expected)


def test_an_unknown_architecture_is_refused() -> None:
    other = PatchModel("vit", "raw", receptive_field=4, stride=2, channels=8)
    with pytest.raises(ModelError, match="vit cannot be folded"):
        folded_module(other)


def test_the_naive_graph_keeps_the_tensors_of_the_contract() -> None:
    model = lively("tiny_ladeda", "NPR")
    naive, folded = (to_onnx(make(model)) for make in (naive_module, folded_module))
    assert list(naive.graph.input) == list(folded.graph.input)
    assert list(naive.graph.output) == list(folded.graph.output)
    assert worst(measure(model, naive.SerializeToString(), ODD_SIZES)) < 1e-5
