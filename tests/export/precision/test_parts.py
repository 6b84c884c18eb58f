"""The parts of a graph are told by what its nodes do, and the front's names say so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from edge.errors import ContractError
from export.fold import folded_module
from export.graph import to_onnx
from export.precision.parts import is_difference, name_front, parts_of
from tests.export.models import lively, lively_graph

MOVES = {"/Cast", "/Transpose"}


@pytest.mark.parametrize(
    ("architecture", "preprocessing", "named"),
    [
        ("tiny_ladeda", "raw", set()),
        ("tiny_ladeda", "x_grad", {"/pixels/Sub", "/pixels/Conv"}),
        ("tiny_ladeda", "NPR", {"/pixels/Conv"}),
        ("lite0_s8", "raw", {"/pixels/Sub"}),
        ("ladeda5", "NPR", {"/pixels/pixels.0/Conv", "/pixels/pixels.1/DepthToSpace"}),
        (
            "fine_s",
            "raw",
            {
                "/pixels/trunk/residuals/residuals.0/Conv",
                "/pixels/trunk/residuals/residuals.1/Clip",
            },
        ),
        (
            "experts",
            "left_diag",
            {
                "/pixels/Sub",
                "/pixels/Conv",
                "/pixels/trunk/fine/residuals/residuals.0/Conv",
                "/pixels/trunk/fine/residuals/residuals.1/Clip",
            },
        ),
    ],
)
def test_the_front_ends_with_the_last_difference(
    architecture: str, preprocessing: str, named: set[str]
) -> None:
    graph = lively_graph(architecture, preprocessing).graph
    assert parts_of(graph).front == MOVES | named
    found = {
        n.name for n in graph.node if n.name.startswith("/pixels/") and n.op_type != "Constant"
    }
    assert found == named


def test_naming_changes_names_alone_and_once() -> None:
    proto = to_onnx(folded_module(lively("fine_s", "raw")))
    before = ModelProto()
    before.CopyFrom(proto)
    front = parts_of(proto.graph).front
    assert "/trunk/residuals/residuals.0/Conv" in front
    name_front(proto.graph)
    again = ModelProto()
    again.CopyFrom(proto)
    name_front(again.graph)
    assert again == proto != before
    for node, old in zip(proto.graph.node, before.graph.node, strict=True):
        assert node.name == old.name or node.name == f"/pixels{old.name}"
        node.name = old.name
    assert proto == before


def test_the_tail_is_the_head_and_all_behind_it() -> None:
    tail = parts_of(lively_graph("gated_experts_deviation", "raw").graph).tail
    assert {"/head/Conv", "/Squeeze"} < tail
    assert all(name.startswith(("/head/", "/Squeeze", "/pooling/")) for name in tail)
    assert not any(name.startswith("/trunk/gate") for name in tail)


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
