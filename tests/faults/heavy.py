"""A model that is at work for seconds, inside its runtime, where no signal reaches it."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edge.manifest import METADATA_KEY
from tests.fakes import make_manifest

SIDE = 2000
ROUNDS = 6
"""Products of matrices of `SIDE`²: two seconds or so on one core, by no means less than one."""


def write_heavy_model(path: Path) -> Path:
    """Write a model of the contract whose logit is the mean of all values, after much work."""
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", "H", "W", 3])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"])
    side = helper.make_tensor("side", TensorProto.INT64, [2], [SIDE, SIDE])
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["one"], keepdims=1),
        helper.make_node("Expand", ["one", "side"], ["m0"]),
    ]
    for turn in range(ROUNDS):
        nodes.append(helper.make_node("MatMul", [f"m{turn}", f"m{turn}"], [f"p{turn}"]))
        nodes.append(helper.make_node("Tanh", [f"p{turn}"], [f"m{turn + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"m{ROUNDS}"], ["work"], keepdims=0))
    nodes.append(helper.make_node("Add", ["mean", "work"], ["logit"]))
    graph = helper.make_graph(nodes, "heavy", [frames], [logit], initializer=[side])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    manifest = make_manifest(patches=None).to_json()
    helper.set_model_props(model, {METADATA_KEY: manifest})
    onnx.save(model, str(path))
    return path
