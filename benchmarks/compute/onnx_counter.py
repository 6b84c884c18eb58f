"""Count an ONNX graph from the shapes that onnx infers; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, shape_inference

from benchmarks.compute.formulas import Array, Count, Kind, Operator
from edge.errors import ModelError

LARGE = 64
"""Elements from which on a constant is a weight whose values no shape depends on."""

_KINDS: dict[str, Kind] = {"Conv": "convolution", "MatMul": "matmul", "Gemm": "matmul"}
_KINDS |= dict.fromkeys(("Slice", "Gather"), "part")
_KINDS |= dict.fromkeys(
    ("Identity", "Constant", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Shape"), "free"
)
_KINDS |= dict.fromkeys(
    (
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Exp",
        "GlobalAveragePool",
        "MaxPool",
        "Mul",
        "Pad",
        "QuantizeLinear",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Resize",
        "Sigmoid",
        "Softmax",
        "Sub",
        "TopK",
        "Transpose",
    ),
    "elementwise",
)


def skeleton(model: ModelProto) -> ModelProto:
    """A graph whose large constants are inputs without values: small, and quick to infer.

    Args:
        model: left unchanged.

    Returns:
        A graph that `count_graph` counts as it would the whole one.
    """
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

    Args:
        model: whole or a `skeleton`; left unchanged.
        shapes: of those inputs that carry data; all others are weights.

    Returns:
        The operators by the names of their nodes. Parameters are the floating-point numbers that
        operators read from the file, constants of the preprocessing among them; one that two
        operators read counts twice.

    Raises:
        ModelError: an operator without a formula, or a shape that onnx cannot infer.
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
            "would be wrong. Add it to benchmarks/compute/onnx_counter.py."
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
