"""The parts of a graph are told by what its nodes do, and the front's names say so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

from edge.errors import ContractError
from export.precision.parts import is_difference, name_front, parts_of
from tests.export.models import lively_graph

MOVES = {"/Cast", "/Transpose"}


@pytest.mark.parametrize(
    ("architecture", "preprocessing", "named"),
    [
        ("tiny_ladeda", "raw", set()),
        ("tiny_ladeda", "x_grad", {"/pixels/Sub", "/pixels/Conv"}),
        ("tiny_ladeda", "NPR", {"/pixels/Conv"}),
        ("lite0_magnitudes_s16", "raw", {"/pixels/Sub"}),
        ("ladeda5", "NPR", {"/pixels/pixels.0/Conv", "/pixels/pixels.1/DepthToSpace"}),
        ("lite0_levels", "left_diag", {"/pixels/Sub", "/pixels/Conv"}),
    ],
)
def test_the_front_ends_with_the_last_difference(
    architecture: str, preprocessing: str, named: set[str]
) -> None:
    graph = lively_graph(architecture, preprocessing).graph
    assert parts_of(graph).front == MOVES | named
    assert {"/head/Conv", "/Squeeze", "/ReduceMean", "/ReduceMean_1"} == parts_of(graph).tail
    found = {
        n.name for n in graph.node if n.name.startswith("/pixels/") and n.op_type != "Constant"
    }
    assert found == named


def test_an_activation_on_differences_is_of_the_front_and_named() -> None:
    """As in networks that cut residuals off; what only such a network has is put in by hand."""
    model = lively_graph("tiny_ladeda", "NPR")
    nodes = {node.name: node for node in model.graph.node}
    conv, stem = nodes["/pixels/Conv"], nodes["/trunk/trunk.0/Conv"]
    conv.name = "/residuals/Conv"
    clip = helper.make_node("Relu", [conv.output[0]], ["cut"], "/residuals/Relu")
    model.graph.node.insert(list(model.graph.node).index(stem), clip)
    stem.input[0] = "cut"
    before = ModelProto()
    before.CopyFrom(model)
    name_front(model.graph)
    assert {"/pixels/residuals/Conv", "/pixels/residuals/Relu"} < parts_of(model.graph).front
    again = ModelProto()
    again.CopyFrom(model)
    name_front(again.graph)
    assert again == model != before
    for node, old in zip(model.graph.node, before.graph.node, strict=True):
        assert node.name == old.name or node.name == f"/pixels{old.name}"
        node.name = old.name
    assert model == before


def test_a_graph_without_a_head_is_refused() -> None:
    graph = lively_graph().graph
    for node in [node for node in graph.node if node.op_type == "Conv"]:
        node.op_type = "Relu"
        del node.input[1:]
    with pytest.raises(ContractError, match="Expected Conv or Gemm or MatMul before the output"):
        parts_of(graph)


def test_a_difference_sums_to_zero_in_every_kernel() -> None:
    step = np.array([[[[1, -1]]], [[[0.1, -0.1]]]], np.float32)
    assert is_difference(step)
    assert is_difference(np.concatenate([step, np.zeros((1, 1, 1, 2), np.float32)]))
    assert not is_difference(np.zeros((2, 1, 1, 2), np.float32))
    assert not is_difference(step + np.float32(1e-3))
