"""What a graph costs: MACs, FLOPs (= 2·MACs) and memory traffic, from the shapes that onnx infers.

A MAC is one multiplication with its addition. Convolutions and matrix products have MACs; a bias, a
batch norm, an activation, a cast or a transpose has none but moves data. Memory traffic is that of
operators run one after the other: each reads its inputs and its weights once and writes its outputs
once. A runtime that fuses operators moves less; one whose caches are too small for a weight or a
row moves more. Nothing is run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, shape_inference

from edge.errors import ModelError

Kind = Literal["convolution", "matmul", "elementwise", "part", "free"]
"""`part` reads no more of its input than it writes (a slice); `free` only renames (a reshape)."""

LARGE = 64
"""Elements from which on a constant is a weight whose values no shape depends on."""

_OF_KIND: dict[Kind, str] = {
    "convolution": "Conv",
    "matmul": "MatMul Gemm",
    "part": "Slice Gather",
    "free": "Identity Constant Reshape Squeeze Unsqueeze Flatten Shape",
    "elementwise": (
        "Add AveragePool BatchNormalization Cast Clip Concat ConstantOfShape DepthToSpace "
        "DequantizeLinear Div Erf Exp GlobalAveragePool LayerNormalization MaxPool Mul Pad Pow "
        "QuantizeLinear ReduceMean ReduceSum Relu Resize Sigmoid Softmax Sqrt Sub TopK Transpose"
    ),
}
_KINDS = {name: kind for kind, names in _OF_KIND.items() for name in names.split()}


@dataclass(frozen=True, slots=True)
class Array:
    """A tensor without its values: its shape, and the bytes of an element."""

    shape: tuple[int, ...]
    itemsize: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.elements * self.itemsize


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a network.

    Attributes:
        name: of the operation, for instance "Conv".
        layer: where in the network.
        kind: which formulas hold.
        inputs: weights among them. Of a convolution [N, C, …], [O, C/groups, …] and perhaps a
            bias; of a matrix product […, m, k], […, k, n] and perhaps a bias.
        outputs: of a convolution [N, O, …]; of a matrix product […, m, n].
    """

    name: str
    layer: str
    kind: Kind
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    @property
    def macs(self) -> int:
        """Multiplications that are summed up."""
        if self.kind == "convolution":  # every output sums over a kernel of (C/groups) · h · w
            return self.outputs[0].elements * math.prod(self.inputs[1].shape[1:])
        if self.kind == "matmul":  # every output is an inner product
            return self.outputs[0].elements * self.inputs[0].shape[-1]
        return 0

    @property
    def flops(self) -> int:
        """2·MACs."""
        return 2 * self.macs

    @property
    def traffic_bytes(self) -> int:
        """Bytes read and written, each once."""
        written = sum(array.bytes for array in self.outputs)
        if self.kind == "free":
            return 0
        if self.kind == "part":
            return 2 * written
        return written + sum(array.bytes for array in self.inputs)


@dataclass(frozen=True, slots=True)
class Count:
    """All operators of a network on one input, in order, and how many numbers it stores."""

    operators: tuple[Operator, ...]
    parameters: int

    @property
    def macs(self) -> int:
        """Of all operators."""
        return sum(operator.macs for operator in self.operators)

    @property
    def flops(self) -> int:
        """2·MACs."""
        return 2 * self.macs

    @property
    def traffic_bytes(self) -> int:
        """Of all operators, run one after the other."""
        return sum(operator.traffic_bytes for operator in self.operators)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in FLOPs per byte of traffic."""
        return self.flops / max(1, self.traffic_bytes)


def skeleton(model: ModelProto) -> ModelProto:
    """A graph whose large constants are inputs without values; it costs the same."""
    bare = ModelProto()
    bare.ir_version = model.ir_version
    bare.opset_import.extend(model.opset_import)
    graph = bare.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    for weight in model.graph.initializer:
        if Array(tuple(weight.dims), 1).elements < LARGE:
            graph.initializer.append(weight)
        else:
            graph.input.append(
                helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
            )
    return bare


def count_graph(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> Count:
    """Count a graph at given input shapes.

    Parameters are the floating-point numbers that operators read from the file, constants of the
    preprocessing among them; one that two operators read counts twice.

    Args:
        model: whole or a `skeleton`; left unchanged.
        shapes: of those inputs that carry data; all others are weights.
    Raises ModelError: an operator without a formula, or a shape that onnx cannot infer.
    """
    inferred = _inferred(model, shapes)
    arrays = _known_arrays(inferred.graph)
    weights = _weights(inferred.graph, shapes)
    operators, parameters = [], 0
    for node in inferred.graph.node:
        operator = _operator(node, arrays)
        operators.append(operator)
        if operator.kind != "free":
            parameters += sum(arrays[name].elements for name in node.input if name in weights)
    return Count(tuple(operators), parameters)


def _inferred(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> ModelProto:
    fixed = skeleton(model)
    for value in fixed.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
    for value in fixed.graph.output:
        # Named dimensions of the outputs would contradict what is inferred for this one shape.
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"onnx cannot infer the shapes of this graph at {dict(shapes)}: {error} "
            "Give a shape that the graph takes."
        ) from error


def _known_arrays(graph: GraphProto) -> dict[str, Array]:
    arrays = {
        value.name: _array(value.type.tensor_type)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    }
    return arrays | {
        weight.name: Array(tuple(weight.dims), _itemsize(weight.data_type))
        for weight in graph.initializer
    }


def _array(tensor: onnx.TypeProto.Tensor) -> Array:
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)
    return Array(shape, _itemsize(tensor.elem_type))


def _itemsize(data_type: int) -> int:
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _weights(graph: GraphProto, shapes: Mapping[str, Sequence[int]]) -> set[str]:
    """Names of floating-point constants, also behind an Identity (equal ones are kept once)."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    names = {weight.name for weight in graph.initializer if weight.data_type in floats}
    names |= {value.name for value in graph.input} - set(shapes)
    for node in graph.node:
        constant = node.op_type == "Constant" and node.attribute[0].t.data_type in floats
        if constant or (node.op_type == "Identity" and node.input[0] in names):
            names.add(node.output[0])
    return names


def _operator(node: NodeProto, arrays: Mapping[str, Array]) -> Operator:
    kind = _KINDS.get(node.op_type)
    if kind is None:
        raise ModelError(
            f"the ONNX operator {node.op_type!r} has no formula here, and counting it as nothing "
            "would be wrong. Add it to benchmarks/flops.py."
        )
    missing = [name for name in (*node.input, *node.output) if name and name not in arrays]
    if missing:
        raise ModelError(
            f"onnx infers no shape for {missing[0]!r} ({node.op_type}). Give a graph whose shapes "
            "follow from those of its inputs."
        )
    inputs = tuple(arrays[name] for name in node.input if name)
    if any(item.name == "transA" and item.i for item in node.attribute):
        inputs = (Array(inputs[0].shape[::-1], inputs[0].itemsize), *inputs[1:])
    outputs = tuple(arrays[name] for name in node.output if name)
    return Operator(node.op_type, node.name, kind, inputs, outputs)
