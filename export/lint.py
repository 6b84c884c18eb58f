"""Whether a graph keeps the contract of a model file, and is one that TensorRT 8.5 and later read.

The rules on types, axes and opsets are those of the ONNX parser of TensorRT 8.5 and 8.6: it takes
uint8 into a Cast alone, ignores axes that come as an input of a Reduce operator (and then reduces
all of them), and knows opset 17 and IR 8. Those on quantisation are of the parsers of TensorRT 8.5
to 11: three inputs, positive scales, zero points of zero, int8 and nothing else before
DequantizeLinear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from edge.errors import ContractError, ManifestError
from edge.manifest import Manifest, Precision
from export.graph import (
    INPUT,
    IR_VERSION,
    LOGIT,
    OPSET,
    PATCH_LOGITS,
    TYPED_IR_VERSION,
    TYPED_OPSET,
    manifest_in,
)
from export.precision.parts import FRONT, Parts, constants, is_named, parts_of

OPERATORS = frozenset((
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv",
    "DepthToSpace", "DequantizeLinear", "Div", "Flatten", "Gemm", "GlobalAveragePool", "MatMul",
    "MaxPool", "Mul", "Pad", "QuantizeLinear", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
))  # fmt: skip
"""Operators that the parsers of TensorRT 8.5 to 11 read alike at opset 17."""

CONSTANT_INPUTS = {
    "Pad": (1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Operator → its inputs that must be known when an engine is built."""

Types = Mapping[str, int]
"""Tensor → its `TensorProto.DataType`."""

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class _Facts:
    graph: GraphProto
    opset: int
    parts: Parts
    types: Types
    constants: Mapping[str, TensorProto]
    made_by: Mapping[str, NodeProto]

    def kind(self, name: str) -> str:
        """A tensor's type in words."""
        return str(TensorProto.DataType.Name(self.types.get(name, 0))).lower()


def check(model: ModelProto, where: str) -> None:
    """Raise ContractError with every fault of a graph, which is called `where` in the message."""
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
    constants, opset = _constants(model.graph), _opset(model)
    problems += [fault for node in model.graph.node for fault in _node(node, constants, opset)]
    problems = problems or [*_soundness(model)]
    # Inference needs a graph that is sound so far.
    if problems or manifest is None:
        return problems
    types = _types(model)
    problems = [*_types_and_names(model.graph, types)]
    return problems or [*_precision_faults(model, manifest.precision, types)]


def _manifest(model: ModelProto) -> tuple[Manifest | None, list[str]]:
    try:
        return manifest_in(model, "the graph"), []
    except ManifestError as error:
        return None, [str(error).rstrip(".")]


def _opset(model: ModelProto) -> int:
    """The one that a file must have: the newer of two where quantisers work in half precision."""
    scales = {n.input[1] for n in model.graph.node if n.op_type in _QUANTISERS and len(n.input) > 1}
    kinds = {t.data_type for name, t in constants(model.graph).items() if name in scales}
    return TYPED_OPSET if TensorProto.FLOAT16 in kinds else OPSET


def _versions(model: ModelProto) -> Iterator[str]:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    opset = _opset(model)
    ir_version = TYPED_IR_VERSION if opset == TYPED_OPSET else IR_VERSION
    if opsets != {"ai.onnx": opset}:
        found = ", ".join(f"{domain} {version}" for domain, version in opsets.items())
        yield f"expected opset {opset} and no other operator set, found {found}"
    if model.ir_version > ir_version:
        yield f"expected IR version {ir_version} or less, found {model.ir_version}"
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


def _node(node: NodeProto, constants: frozenset[str], opset: int) -> Iterator[str]:
    name = node.name or node.op_type
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        yield f"operator {node.op_type} of {name} is not read by every TensorRT"
    attributes = {entry.name for entry in node.attribute}
    if node.op_type.startswith("Reduce"):
        given = [len(node.input) == 2 and node.input[1] in constants, "axes" in attributes]
        if given != [opset == TYPED_OPSET, opset == OPSET]:
            how = "an attribute" if opset == OPSET else "a constant input"
            yield f"expected the axes of {name} as {how}"
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


def _types_and_names(graph: GraphProto, types: Types) -> Iterator[str]:
    for name, kind in types.items():
        if kind == TensorProto.UINT8 and name != INPUT:
            yield f"expected no uint8 past the first Cast, found {name}"
    for name, count in Counter(node.name for node in graph.node).items():
        if not name or count > 1:
            yield f"expected a name of its own for each node, found {count} called {name!r}"


def _precision_faults(model: ModelProto, precision: Precision, types: Types) -> Iterator[str]:
    graph = model.graph
    try:
        parts = parts_of(graph)
    except ContractError as error:
        yield str(error).rstrip(".")
        return
    made_by = {name: node for node in graph.node for name in node.output}
    facts = _Facts(graph, _opset(model), parts, types, constants(graph), made_by)
    yield from _names_of_the_front(facts)
    yield from _RULES[precision](facts)


def _names_of_the_front(facts: _Facts) -> Iterator[str]:
    for node in facts.graph.node:
        exact = node.name in facts.parts.front
        if exact and not is_named(node):
            yield f"expected the name of {node.name} in the front to begin with {FRONT}"
        if not exact and node.name.startswith(FRONT) and node.op_type != "Constant":
            yield f"expected {node.name} to read grey levels and keep them exact"


def _fp16(facts: _Facts) -> Iterator[str]:
    yield from _no_quantisation(facts)
    yield from _half_body(facts)


def _half_body(facts: _Facts) -> Iterator[str]:
    for node in facts.graph.node:
        if node.op_type not in ("Constant", "Cast", "QuantizeLinear"):
            exact = node.name in facts.parts.exact
            wanted = TensorProto.FLOAT if exact else TensorProto.FLOAT16
            if facts.types.get(node.output[0]) != wanted:
                where = "front or tail" if exact else "body"
                yield f"{node.name} of the {where} gives {facts.kind(node.output[0])}"
    yield from _casts(facts)


def _casts(facts: _Facts) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for node in facts.graph.node:
        if node.op_type != "Cast":
            continue
        source, kind = node.input[0], facts.types.get(node.output[0], 0)
        before = facts.made_by.get(source)
        if facts.types.get(source) == kind:
            yield f"Cast {node.name} changes no type"
        if (source, kind) in seen:
            yield f"Cast {node.name} is there twice"
        if before is not None and before.op_type == "Cast" and INPUT not in before.input:
            yield f"Cast {node.name} follows another"
        seen.add((source, kind))
    if not any(kind == TensorProto.FLOAT16 for _, kind in seen):
        yield "expected a body in half precision, found none"


def _int8(facts: _Facts) -> Iterator[str]:
    yield from _no_half(facts) if facts.opset == OPSET else _half_body(facts)
    found = [node for node in facts.graph.node if node.op_type in _QUANTISERS]
    if not found:
        yield "expected a body in int8, found no QuantizeLinear"
    for node in found:
        if len(node.input) != 3:
            yield f"expected 3 inputs of {node.name}, found {len(node.input)}"
            continue
        yield from _scale(facts, node)
        yield from _zero_point(facts, node)
        yield from _data(facts, node)
    yield from _tail_in_float(facts)


def _scale(facts: _Facts, node: NodeProto) -> Iterator[str]:
    scale = facts.constants.get(node.input[1])
    wanted = TensorProto.FLOAT if facts.opset == OPSET else TensorProto.FLOAT16
    if scale is None or scale.data_type != wanted:
        kind = "float32" if facts.opset == OPSET else "float16"
        yield f"expected a constant {kind} scale of {node.name}"
        return
    values = numpy_helper.to_array(scale)
    if not (np.isfinite(values) & (values > 0)).all():
        yield f"expected scales above 0 of {node.name}, found {values.min()}"
    if values.size > 1 and not _is_of_a_kernel(facts, node):
        yield f"expected one scale of the activation at {node.name}, found {values.size}"


def _is_of_a_kernel(facts: _Facts, node: NodeProto) -> bool:
    """Whether a quantiser belongs to a constant."""
    name = node.input[0]
    before = facts.made_by.get(name)
    name = before.input[0] if before is not None and before.op_type == "QuantizeLinear" else name
    return name in facts.constants


def _zero_point(facts: _Facts, node: NodeProto) -> Iterator[str]:
    zero = facts.constants.get(node.input[2])
    if zero is None or zero.data_type != TensorProto.INT8:
        yield f"expected a constant int8 zero point of {node.name}"
    elif numpy_helper.to_array(zero).any():
        yield f"expected a zero point of 0 of {node.name}"


def _data(facts: _Facts, node: NodeProto) -> Iterator[str]:
    name = node.input[0]
    if node.op_type == "QuantizeLinear" and name in facts.parts.levels:
        yield f"expected no quantisation of grey levels, found {node.name}"
    if node.op_type == "DequantizeLinear" and facts.types.get(name) != TensorProto.INT8:
        yield f"expected int8 before {node.name}, found {facts.kind(name)}"


def _tail_in_float(facts: _Facts) -> Iterator[str]:
    for node in facts.graph.node:
        if node.name in facts.parts.tail:
            kinds = {facts.made_by[name].op_type for name in node.input if name in facts.made_by}
            if node.op_type in _QUANTISERS or kinds & set(_QUANTISERS):
                yield f"expected no quantisation of the head and behind it, found {node.name}"


def _no_quantisation(facts: _Facts) -> Iterator[str]:
    for node in facts.graph.node:
        if node.op_type in _QUANTISERS:
            yield f"expected no quantisation, found {node.name}"


def _no_half(facts: _Facts) -> Iterator[str]:
    for name, kind in facts.types.items():
        if kind == TensorProto.FLOAT16:
            yield f"expected no half precision, found {name}"


_RULES: dict[Precision, Callable[[_Facts], Iterator[str]]] = {
    "fp32": lambda facts: chain(_no_quantisation(facts), _no_half(facts)),
    "fp16": _fp16,
    "int8": _int8,
}
