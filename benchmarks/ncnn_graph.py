"""A folded ONNX graph in the two files that ncnn reads.

Written here so that nothing but the ncnn wheel is needed, and so that what is timed is the folded
graph itself: a converter may leave out a step that it does not know. Format: ncnn's wiki, "param
and model file structure".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from export.graph import PATCH_LOGITS

MAGIC = 7767517
INPUT_BLOB = "in0"
OUTPUT_BLOB = PATCH_LOGITS
FLOAT32 = struct.pack("<I", 0)
"""Before the weights of a convolution: they follow as float32."""

IGNORED = {"Cast", "Transpose", "Constant", "Squeeze", "ReduceMean"}
"""ncnn's own pixel input and the mean over its output stand for these."""

Array = npt.NDArray[np.float32]


class NotConvertible(Exception):
    """An operator that this does not convert; the message is a sentence."""


@dataclass(slots=True)
class _Writer:
    weights: dict[str, Array]
    layers: list[str] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    blob: str = INPUT_BLOB

    def add(self, kind: str, parameters: dict[int, int]) -> None:
        blob = f"b{len(self.layers)}"
        text = " ".join(f"{key}={value}" for key, value in parameters.items())
        self.layers.append(f"{kind} l{len(self.layers)} 1 1 {self.blob} {blob} {text}")
        self.blob = blob


def write_ncnn(proto: onnx.ModelProto, param: Path, weights: Path) -> None:
    """Write a folded model as ncnn's files; grey levels BGR in, the map of patch logits out.

    Args:
        proto: a chain of Sub, Conv and Relu, as Tiny-LaDeDa folds into.
        param: the text file of layers.
        weights: the binary file.

    Raises:
        NotConvertible: another operator.
    """
    arrays = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    writer = _Writer(arrays)
    for node in proto.graph.node:
        _convert(writer, node)
    lines = [*writer.layers[:-1], writer.layers[-1].replace(writer.blob, OUTPUT_BLOB)]
    count = len(lines) + 1
    head = [str(MAGIC), f"{count} {count}", f"Input {INPUT_BLOB} 0 1 {INPUT_BLOB}"]
    param.write_text("\n".join([*head, *lines]) + "\n", encoding="ascii")
    weights.write_bytes(bytes(writer.data))


def _convert(writer: _Writer, node: onnx.NodeProto) -> None:
    if node.op_type == "Sub":
        _subtract(writer, writer.weights[node.input[1]].ravel())
    elif node.op_type == "Conv":
        _convolve(writer, node)
    elif node.op_type == "Relu":
        writer.add("ReLU", {})
    elif node.op_type not in IGNORED:
        raise NotConvertible(f"the graph has a {node.op_type}, which is not converted for ncnn.")


def _subtract(writer: _Writer, mean: Array) -> None:
    writer.add("Scale", {0: mean.size, 1: 1})
    writer.data += np.ones_like(mean).tobytes() + (-mean).tobytes()


def _convolve(writer: _Writer, node: onnx.NodeProto) -> None:
    weight, *bias = (writer.weights[name] for name in node.input[1:])
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    top, left, bottom, right = attributes["pads"]
    rows, columns = attributes["strides"]
    groups = attributes.get("group", 1)
    parameters = {
        0: weight.shape[0],
        1: weight.shape[3],
        11: weight.shape[2],
        3: columns,
        13: rows,
        4: left,
        14: top,
        15: right,
        16: bottom,
        5: len(bias),
        6: weight.size,
    }
    if groups > 1:
        parameters[7] = groups
    writer.add("ConvolutionDepthWise" if groups > 1 else "Convolution", parameters)
    writer.data += FLOAT32 + b"".join(array.astype("<f4").tobytes() for array in (weight, *bias))
