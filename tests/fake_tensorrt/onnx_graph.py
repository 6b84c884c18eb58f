"""What TensorRT's ONNX parser makes of a file: layers, or the reason why not.

Its rules, each of the versions that have it: operators that it knows; uint8 only as an input or
output, and only cast to floats; operands of one type; two-dimensional convolutions with pads that
are not negative; pools without dilation; the coordinates of Resize; Pad without axes (8); axes that
8 does not read; scales that are positive, of float32 (8), and without zero points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from tests.fake_tensorrt.plan import Shape

_TYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
}

_LAYERS: Mapping[str, str] = {
    "Conv": "CONVOLUTION",
    "ConvTranspose": "DECONVOLUTION",
    "Cast": "CAST",
    "Identity": "IDENTITY",
    "Constant": "CONSTANT",
    "BatchNormalization": "SCALE",
    "Resize": "RESIZE",
    "Softmax": "SOFTMAX",
    "Concat": "CONCATENATION",
    "Slice": "SLICE",
    "Shape": "SHAPE",
    "Gather": "GATHER",
    "Where": "SELECT",
    "Range": "FILL",
    "MatMul": "MATRIX_MULTIPLY",
    "Gemm": "MATRIX_MULTIPLY",
    "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE",
    "TopK": "TOPK",
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Equal"), "ELEMENTWISE"),
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "HardSwish"), "ACTIVATION"),
    **dict.fromkeys(("Sqrt", "Exp", "Log", "Abs", "Neg", "Floor", "Erf", "Round"), "UNARY"),
    **dict.fromkeys(("MaxPool", "AveragePool"), "POOLING"),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "GlobalAveragePool"), "REDUCE"
    ),
    **dict.fromkeys(
        ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Pad"),
        "SHUFFLE",
    ),
}
"""Operators that the parser knows → member of LayerType that they mostly become."""

_NO_PLUGIN = '"Plugin not found, are the plugin name, version, and namespace correct?"'


class Refused(Exception):
    """The parser refuses a file."""

    def __init__(
        self,
        code: str,
        desc: str,
        func: str,
        node: int = -1,
        name: str = "",
        operator: str = "",
    ) -> None:
        super().__init__(desc)
        self.code, self.desc, self.func = code, desc, func
        self.node, self.name, self.operator = node, name, operator


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: its name, member of DataType and shape with -1 for what is unknown."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its name, member of LayerType, inputs and outputs."""

    name: str
    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """What was parsed."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    has_half: bool
    has_scales: bool
    onnx: bytes


def parse(data: bytes, major: int, explicit_batch: bool) -> Graph:
    """Parse a file as a major version does."""
    model = _decode(data)
    if not explicit_batch:
        raise Refused(
            "INVALID_VALUE",
            "Assertion failed: !mImporterCtx.network()->hasImplicitBatchDimension() && "
            '"This version of the ONNX parser only supports TensorRT INetworkDefinitions with an '
            "explicit batch dimension. Please ensure the network was created using the "
            'EXPLICIT_BATCH NetworkDefinitionCreationFlag."',
            "importModel",
        )
    values = _values(model)
    for number, node in enumerate(model.graph.node):
        _check(node, number, model, values, major)
    if major < 10:
        _ignore_axes_inputs(model)
    return _graph(model, values)


def _decode(data: bytes) -> Any:
    try:
        model = onnx.load_from_string(data)
        if not model.graph.node:
            raise ValueError("no nodes")
    except Exception as error:  # protobuf's and onnx's errors share no base
        raise Refused(
            "MODEL_DESERIALIZE_FAILED",
            'Assertion failed: (model->ParseFromCodedStream(&coded_input)) && "Failed to parse the '
            'ONNX model."',
            "deserialize_onnx_model",
        ) from error
    return model


def _values(model: Any) -> dict[str, Value]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = {info.name: _value(info) for info in (*graph.input, *graph.value_info, *graph.output)}
    for item in graph.initializer:
        values[item.name] = Value(item.name, _dtype(item.data_type), tuple(item.dims))
    return values


def _value(info: Any) -> Value:
    kind = info.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    return Value(info.name, _dtype(kind.elem_type), shape)


def _dtype(number: int) -> str:
    return _TYPES.get(number, "FLOAT")


def _check(node: Any, number: int, model: Any, values: Mapping[str, Value], major: int) -> None:
    where: dict[str, Any] = {"node": number, "name": node.name, "operator": node.op_type}
    if node.op_type not in _LAYERS or node.domain not in ("", "ai.onnx"):
        raise _unknown(where, major)
    outputs = {output.name for output in model.graph.output}
    for name in node.output:
        if name in values and values[name].dtype == "UINT8" and name not in outputs:
            raise _intermediate_uint8(where, major)
    if _casts_bytes(node, values):
        text = "TensorRT only supports casting UINT8 to FLOAT or HALF."
        raise Refused("UNSUPPORTED_NODE", text, "importCast", **where)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        _check_scales(node, model, values, where)
        if major < 10 and values[node.input[1]].dtype != "FLOAT":
            text = "Assertion failed: scale.getType() == DataType::kFLOAT"
            raise Refused("INVALID_NODE", text, "QuantDequantLinearHelper", **where)
    if node.op_type in _SAME_TYPES:
        kinds = {values[name].dtype for name in node.input if name in values}
        if len(kinds) > 1:
            text = f"Assertion failed: inputs of {node.name} have types {', '.join(sorted(kinds))}"
            raise Refused("INVALID_NODE", text, "parseNode", **where)
    if node.op_type == "Conv":
        _check_conv(node, values, where)
    _check_options(node, values, major, where)


def _check_conv(node: Any, values: Mapping[str, Value], where: dict[str, Any]) -> None:
    pads = next((list(entry.ints) for entry in node.attribute if entry.name == "pads"), [0] * 4)
    if len(values[node.input[1]].shape) != 4 or len(pads) != 4 or min(pads) < 0:
        text = "Assertion failed: nbSpatialDims == 2 && pads.nbDims == 2"
        raise Refused("UNSUPPORTED_NODE", text, "importConv", **where)


def _check_options(
    node: Any, values: Mapping[str, Value], major: int, where: dict[str, Any]
) -> None:
    has = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    mode = has.get("coordinate_transformation_mode", b"half_pixel").decode()
    rules = {
        "AveragePool": set(has.get("dilations", [1])) == {1},
        "Pad": major >= 10 or len(node.input) < 4,
        "Resize": mode in _COORDINATES
        and (major < 10 or not has.get("antialias"))
        and (major < 10 or has.get("keep_aspect_ratio_policy", b"stretch") == b"stretch"),
    }
    first = values.get(node.input[0]) if node.input else None
    bytes_in = first is not None and first.dtype == "UINT8" and node.op_type != "Cast"
    if bytes_in or not rules.get(node.op_type, True):
        text = f"Assertion failed: {node.op_type} with these inputs and attributes"
        raise Refused("UNSUPPORTED_NODE", text, f"import{node.op_type}", **where)


_COORDINATES = frozenset(
    ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
)

_SAME_TYPES = frozenset(("Conv", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Concat"))


def _casts_bytes(node: Any, values: Mapping[str, Value]) -> bool:
    """Whether a uint8 tensor is made into anything but floats."""
    return (
        node.op_type == "Cast"
        and values[node.input[0]].dtype == "UINT8"
        and values[node.output[0]].dtype not in ("FLOAT", "HALF")
    )


def _unknown(where: dict[str, Any], major: int) -> Refused:
    if major < 10:
        text = f"Assertion failed: creator && {_NO_PLUGIN}"
        return Refused("UNSUPPORTED_NODE", text, "importFallbackPluginImporter", **where)
    return Refused(
        "INVALID_NODE", f"creator && {_NO_PLUGIN}", "checkFallbackPluginImporter", **where
    )


def _intermediate_uint8(where: dict[str, Any], major: int) -> Refused:
    text = "TensorRT does not support UINT8 types for intermediate tensors"
    if major < 10:
        desc = f'Assertion failed: legalUINT8 && "{text}!"'
    elif major < 11:
        desc = f"Assertion failed: legalUINT8: {text}!"
    else:
        desc = (
            f"Assertion failed: legalUINT8: {text}. For UINT8 quantization, the "
            "kIMPORT_UINT8_QUANTIZATION flag must be set. (DLA version >= 3.16 only)"
        )
    return Refused("UNSUPPORTED_NODE", desc, "parseNode", **where)


def _check_scales(
    node: Any, model: Any, values: Mapping[str, Value], where: dict[str, Any]
) -> None:
    """Quantisation must be symmetric, and of 8 bits: ONNX Runtime's defaults are neither."""
    if node.op_type == "DequantizeLinear" and values[node.input[0]].dtype != "INT8":
        raise Refused(
            "INVALID_NODE",
            "IDequantizeLayer::setPrecision: Error Code 3: API Usage Error (Parameter check "
            "failed, condition: isQuantized(dataType). A DequantizeLayer can only run in "
            "DataType::kINT8, DataType::kFP8, DataType::kFP4 or DataType::kINT4precision)",
            "parseNode",
            **where,
        )
    points = {item.name: item for item in model.graph.initializer}
    scale = points.get(node.input[1])
    if scale is not None and not (onnx.numpy_helper.to_array(scale) > 0).all():
        text = "Assertion failed: Scale coefficients must all be positive"
        raise Refused("INVALID_NODE", text, "QuantDequantLinearHelper", **where)
    point = points.get(node.input[2]) if len(node.input) > 2 else None
    if point is not None and onnx.numpy_helper.to_array(point).any():
        raise Refused(
            "INVALID_NODE",
            "Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero point is not supported.",
            "QuantDequantLinearHelper",
            **where,
        )


def _ignore_axes_inputs(model: Any) -> None:
    """The importer of 8.x reads axes from an attribute alone, and without it reduces them all."""
    for node in model.graph.node:
        if node.op_type in ("ReduceMean", "ReduceMax", "ReduceMin") and len(node.input) > 1:
            del node.input[1:]


def _graph(model: Any, values: Mapping[str, Value]) -> Graph:
    graph = model.graph
    given = {item.name for item in graph.initializer}
    # Constants are weights, and become layers only where something needs a tensor.
    given |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    layers = tuple(_layers(graph, values, given))
    produced = [value for layer in layers for value in (*layer.inputs, *layer.outputs)]
    halves = {item.data_type for item in graph.initializer} & {TensorProto.FLOAT16}
    return Graph(
        graph.name,
        layers,
        tuple(values[item.name] for item in graph.input if item.name not in given),
        tuple(values[item.name] for item in graph.output),
        bool(halves) or any(value.dtype == "HALF" for value in produced),
        any(layer.kind == "QUANTIZE" for layer in layers),
        model.SerializeToString(),
    )


def _layers(graph: Any, values: Mapping[str, Value], given: set[str]) -> Iterator[Layer]:
    for number, node in enumerate(graph.node):
        kind = _LAYERS[node.op_type]
        if kind == "CONSTANT":
            continue
        name = node.name or f"(Unnamed Layer* {number}) [{kind.title()}]"
        inputs = tuple(values[i] for i in node.input if i in values and i not in given)
        outputs = tuple(values.get(o, Value(o, "FLOAT", ())) for o in node.output)
        yield Layer(name, kind, inputs, outputs)
