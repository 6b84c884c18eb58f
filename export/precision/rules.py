"""What a model file of each precision must and must not have, past what every one must.

`export.lint` asks here. The rules on quantisation are those of the parsers of TensorRT 8.5 to 11:
three inputs, positive scales, zero points of zero, int8 and nothing else before DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from edge.errors import ContractError
from edge.manifest import Precision
from export.graph import INPUT
from export.precision.parts import FRONT, Parts, constants, is_named, parts_of

Types = Mapping[str, int]
"""Tensor → its `TensorProto.DataType`."""

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True)
class _Facts:
    graph: GraphProto
    parts: Parts
    types: Types
    constants: Mapping[str, TensorProto]
    made_by: Mapping[str, NodeProto]

    def kind(self, name: str) -> str:
        """A tensor's type in words."""
        return str(TensorProto.DataType.Name(self.types.get(name, 0))).lower()


def faults(graph: GraphProto, precision: Precision, types: Types) -> Iterator[str]:
    """Every fault of a sound graph in what its precision asks for, one clause each.

    Args:
        graph: sound, with names of their own for all nodes.
        precision: as its manifest says.
        types: of all its tensors.
    """
    try:
        parts = parts_of(graph)
    except ContractError as error:
        yield str(error).rstrip(".")
        return
    made_by = {name: node for node in graph.node for name in node.output}
    facts = _Facts(graph, parts, types, constants(graph), made_by)
    yield from _names_of_the_front(facts)
    yield from _RULES[precision](facts)


def _names_of_the_front(facts: _Facts) -> Iterator[str]:
    for node in facts.graph.node:
        exact = node.name in facts.parts.front
        if exact and not is_named(node):
            yield f"expected the name of {node.name} in the front to begin with {FRONT}"
        if not exact and node.name.startswith(FRONT) and node.op_type != "Constant":
            yield f"expected {node.name} to read grey levels and keep them exact"


def _fp32(facts: _Facts) -> Iterator[str]:
    yield from _no_quantisation(facts)
    yield from _no_half(facts)


def _fp16(facts: _Facts) -> Iterator[str]:
    yield from _no_quantisation(facts)
    for node in facts.graph.node:
        if node.op_type not in ("Constant", "Cast"):
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
    yield from _no_half(facts)
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
    if scale is None or scale.data_type != TensorProto.FLOAT:
        yield f"expected a constant float32 scale of {node.name}"
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
    "fp32": _fp32,
    "fp16": _fp16,
    "int8": _int8,
}
