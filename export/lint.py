"""Whether a graph keeps the contract of a model file, and is one that TensorRT 8.5 and later read.

The rules on types, axes and opsets are those of the ONNX parser of TensorRT 8.5 and 8.6: it takes
uint8 into a Cast alone, ignores axes that come as an input of a Reduce operator (and then reduces
all of them), and knows opset 17 and IR 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from edge.errors import ContractError, ManifestError
from edge.manifest import Manifest
from export.graph import INPUT, IR_VERSION, LOGIT, OPSET, PATCH_LOGITS, manifest_in
from export.precision.rules import Types, faults

OPERATORS = frozenset(
    {
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "MatMul",
        "MaxPool",
        "Mul",
        "Pad",
        "QuantizeLinear",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
        "Squeeze",
        "Sub",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that the parsers of TensorRT 8.5 to 11 read alike at opset 17."""

CONSTANT_INPUTS = {
    "Pad": (1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}
"""Operator → its inputs that must be known when an engine is built."""


def check(model: ModelProto, where: str) -> None:
    """Refuse a graph that `lint` finds fault with.

    Args:
        model: the graph with its manifest.
        where: what to call it in the message.

    Raises:
        ContractError: names every fault.
    """
    problems = lint(model)
    if problems:
        raise ContractError(f"{where} breaks the contract of a model file: {'; '.join(problems)}.")


def lint(model: ModelProto) -> list[str]:
    """Every fault of a graph, one clause each; none if it is fit to be written.

    What its precision asks for is read off its manifest.
    """
    manifest, problems = _manifest(model)
    problems += _versions(model)
    problems += _input(model.graph)
    problems += _outputs(model.graph, manifest)
    constants = _constants(model.graph)
    problems += [fault for node in model.graph.node for fault in _node(node, constants)]
    problems = problems or [*_soundness(model)]
    # Inference needs a graph that is sound so far.
    if problems or manifest is None:
        return problems
    types = _types(model)
    problems = [*_uint8_inside(types), *_names(model.graph)]
    return problems or [*faults(model.graph, manifest.precision, types)]


def _manifest(model: ModelProto) -> tuple[Manifest | None, list[str]]:
    try:
        return manifest_in(model, "the graph"), []
    except ManifestError as error:
        return None, [str(error).rstrip(".")]


def _names(graph: GraphProto) -> Iterator[str]:
    for name, count in Counter(node.name for node in graph.node).items():
        if not name or count > 1:
            yield f"expected a name of its own for each node, found {count} called {name!r}"


def _versions(model: ModelProto) -> Iterator[str]:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets != {"ai.onnx": OPSET}:
        found = ", ".join(f"{domain} {version}" for domain, version in opsets.items())
        yield f"expected opset {OPSET} and no other operator set, found {found}"
    if model.ir_version > IR_VERSION:
        yield f"expected IR version {IR_VERSION} or less, found {model.ir_version}"
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield f"expected all weights inside, found {tensor.name} in another file"
    if model.functions:
        yield f"expected no functions, found {model.functions[0].name}"


def _describe(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    kind = TensorProto.DataType.Name(tensor.elem_type).lower()
    return f"{value.name} of type {kind} and rank {len(tensor.shape.dim)}"


def _input(graph: GraphProto) -> Iterator[str]:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    found = ", ".join(_describe(value) for value in inputs)
    if found != f"{INPUT} of type uint8 and rank 4":
        yield f"expected one input, {INPUT} of type uint8 and rank 4, found {found or 'none'}"
        return
    if inputs[0].type.tensor_type.shape.dim[3].dim_value != 3:
        yield f"expected 3 colours as the last dimension of {INPUT}"
    readers = [node for node in graph.node if INPUT in node.input]
    if [node.op_type for node in readers] != ["Cast"] or readers[0] != graph.node[0]:
        names = ", ".join(node.op_type for node in readers) or "nothing"
        yield f"expected the first node to be a Cast and alone to read {INPUT}, found {names}"


def _outputs(graph: GraphProto, manifest: Manifest | None) -> Iterator[str]:
    expected = [f"{LOGIT} of type float and rank 1"]
    if manifest is None or manifest.patches is not None:
        expected.append(f"{PATCH_LOGITS} of type float and rank 3")
    found = [_describe(value) for value in graph.output]
    if found != expected:
        yield f"expected outputs {', '.join(expected)}, found {', '.join(found) or 'none'}"


def _constants(graph: GraphProto) -> frozenset[str]:
    made = [node.output[0] for node in graph.node if node.op_type == "Constant"]
    return frozenset([*made, *(tensor.name for tensor in graph.initializer)])


def _node(node: NodeProto, constants: frozenset[str]) -> Iterator[str]:
    name = node.name or node.op_type
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        yield f"operator {node.op_type} of {name} is not read by every TensorRT"
    attributes = {entry.name for entry in node.attribute}
    if node.op_type.startswith("Reduce") and (len(node.input) != 1 or "axes" not in attributes):
        yield f"expected the axes of {name} as an attribute"
    if node.op_type in ("Squeeze", "Unsqueeze") and len(node.input) != 2:
        yield f"expected the axes of {name} as its second input"
    for index in CONSTANT_INPUTS.get(node.op_type, ()):
        if index < len(node.input) and node.input[index] not in {*constants, ""}:
            yield f"expected input {index} of {name} to be a constant"


def _soundness(model: ModelProto) -> Iterator[str]:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield f"it is no sound graph: {str(error).strip().splitlines()[0]}"


def _types(model: ModelProto) -> Types:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def _uint8_inside(types: Types) -> Iterator[str]:
    for name, kind in types.items():
        if kind == TensorProto.UINT8 and name != INPUT:
            yield f"expected no uint8 past the first Cast, found {name}"
