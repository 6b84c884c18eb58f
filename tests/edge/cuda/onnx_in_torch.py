"""Runs a model file's graph with torch, node by node in the types that it is written in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from edge.types import Batch

_TYPES = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16}


def run(path: Path, frames: Batch, device: str) -> dict[str, Any]:
    """The outputs of a file for frames, uint8 [N, H, W, 3] BGR, as float32 arrays."""
    graph = onnx.load(str(path)).graph
    known = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(device)
        for tensor in graph.initializer
    }
    known["frames"] = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    for node in graph.node:
        given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == "Constant":
            made = torch.from_numpy(np.atleast_1d(numpy_helper.to_array(given["value"])).copy())
            known[node.output[0]] = made.to(device)
        else:
            inputs = [known[name] if name else None for name in node.input]
            known[node.output[0]] = _run(node.op_type, inputs, given)
    return {value.name: known[value.name].float().cpu().numpy() for value in graph.output}


def _run(kind: str, given: list[Any], has: dict[str, Any]) -> Any:
    x = given[0]
    if kind in ("Conv", "AveragePool"):
        return _windowed(kind, given, has)
    if kind in ("QuantizeLinear", "DequantizeLinear"):
        return _quantised(kind, given, has)
    if kind in ("ReduceMean", "Squeeze"):
        axes = has.get("axes") or given[1].tolist()
        return (
            x.mean(axes, keepdim=bool(has.get("keepdims", 1)))
            if kind[0] == "R"
            else _squeeze(x, axes)
        )
    simple: dict[str, Callable[[], Any]] = {
        "Cast": lambda: x.to(_TYPES[has["to"]]),
        "Transpose": lambda: x.permute(*has["perm"]),
        "Concat": lambda: torch.cat(given, has["axis"]),
        "Relu": lambda: torch.relu(x),
        "Clip": lambda: x.clamp(float(given[1]), float(given[2])),
        "Add": lambda: x + given[1],
        "Sub": lambda: x - given[1],
    }
    return simple[kind]()


def _squeeze(x: Any, axes: list[int]) -> Any:
    for axis in sorted(axes, reverse=True):
        x = x.squeeze(axis)
    return x


def _windowed(kind: str, given: list[Any], has: dict[str, Any]) -> Any:
    top, left, bottom, right = has.get("pads", [0, 0, 0, 0])
    padded = F.pad(given[0], (left, right, top, bottom))
    stride = has.get("strides", [1, 1])
    if kind == "Conv":
        bias = given[2] if len(given) > 2 else None
        return F.conv2d(padded, given[1], bias, stride, groups=has.get("group", 1))
    assert not (top or left or bottom or right) and not has.get("ceil_mode")
    return F.avg_pool2d(padded, has["kernel_shape"], stride)


def _quantised(kind: str, given: list[Any], has: dict[str, Any]) -> Any:
    """Symmetric, of one scale or one for each index of an axis."""
    x, scale = given[0], given[1]
    if scale.numel() > 1:
        shape = [1] * x.ndim
        shape[has.get("axis", 1)] = -1
        scale = scale.reshape(shape)
    if kind == "DequantizeLinear":
        return x.to(scale.dtype) * scale
    return torch.round(x / scale).clamp(-128, 127).to(torch.int8)
