"""Small model files, right and wrong, made on the spot."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edge.manifest import METADATA_KEY, Manifest
from tests.fakes import make_manifest


def write_model(
    path: Path,
    manifest: Manifest | str | None = None,
    *,
    input_name: str = "frames",
    input_type: int = TensorProto.UINT8,
    outputs: tuple[str, ...] = ("logit", "patch_logits"),
    fixed_hw: tuple[int, int] | None = None,
) -> Path:
    """Write a model of the contract whose logit is the mean of all values minus 128."""
    height, width = fixed_hw or ("H", "W")
    frames = helper.make_tensor_value_info(input_name, input_type, ["N", height, width, 3])
    infos = {
        "logit": helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"]),
        "patch_logits": helper.make_tensor_value_info(
            "patch_logits", TensorProto.FLOAT, ["N", "h", "w"]
        ),
    }
    grey = helper.make_tensor("grey", TensorProto.FLOAT, [], [128.0])
    nodes = [
        helper.make_node("Cast", [input_name], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["x", "grey"], ["centred"]),
        helper.make_node("ReduceMean", ["centred"], ["logit"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["centred"], ["patch_logits"], axes=[3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "test", [frames], [infos[name] for name in outputs], initializer=[grey]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    text = manifest if isinstance(manifest, str) else (manifest or make_manifest()).to_json()
    if text:
        helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, str(path))
    return path
