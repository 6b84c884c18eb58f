"""Which nodes of a model file's graph stay in float32, whatever its precision.

The *front* goes from `frames` to differences of grey levels. They are small numbers between large
ones: taken in half precision they would lose up to a fifth of a level. The *tail* is the head and
all behind it: a few sums, and the outputs. What lies between is the body.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from edge.errors import ContractError
from export.graph import INPUT, LOGIT, PATCH_LOGITS

FRONT = "/pixels/"
"""What the names of the front's nodes begin with, so that a board finds them without onnx."""

_MOVES = frozenset({"Transpose", "DepthToSpace", "SpaceToDepth", "Slice", "Pad", "Concat"})
_SHIFTS = frozenset({"Add", "Sub"})
_ACTIVATIONS = frozenset({"Clip", "Relu"})
_TYPE_CHANGES = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})
_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_UNNAMED_IN_FRONT = frozenset({"Cast", "Transpose"})
"""Of whole levels up to 255, which every type of float holds; they need no pinning."""

_ZERO = 1e-5
"""A kernel sums to zero if it does so up to this share of its absolute sum: float32 rounds it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Nodes by name; constants belong to no part. An activation on a difference is of the front;
    `levels` are the front's tensors, and copies of them in other types.
    """

    front: frozenset[str]
    tail: frozenset[str]
    levels: frozenset[str]

    @property
    def exact(self) -> frozenset[str]:
        return self.front | self.tail


def parts_of(graph: GraphProto) -> Parts:
    """The parts of a graph by what its nodes do, not by their names; ContractError where nothing
    weighs features before the outputs.
    """
    weights = constants(graph)
    front, levels = _front(graph, weights)
    return Parts(frozenset(front), frozenset(_tail(graph)), frozenset(levels))


def name_front(graph: GraphProto) -> None:
    """Let the names of the front's nodes begin with `FRONT`, in place."""
    front = parts_of(graph).front
    for node in graph.node:
        if node.name in front and not is_named(node):
            node.name = FRONT + node.name.lstrip("/")


def is_named(node: NodeProto) -> bool:
    """Whether a node of the front needs no other name."""
    return node.name.startswith(FRONT) or node.op_type in _UNNAMED_IN_FRONT


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Initializers and the results of Constant nodes, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for entry in node.attribute if node.op_type == "Constant" else ():
            found[node.output[0]] = entry.t
    return found


def readers(graph: GraphProto) -> Counter[str]:
    """How many inputs read each tensor, the graph's outputs counted too."""
    names = [name for node in graph.node for name in node.input]
    return Counter([*names, *(value.name for value in graph.output)])


def is_difference(kernels: npt.NDArray[np.float32]) -> bool:
    """Whether each of the kernels [O, C, h, w] sums to zero, and not all are nothing but zeros."""
    axes = tuple(range(1, kernels.ndim))
    wide = kernels.astype(np.float64)
    total, size = np.abs(wide.sum(axes)), np.abs(wide).sum(axes)
    return bool(size.any() and (total <= _ZERO * size).all())


def _front(graph: GraphProto, weights: Mapping[str, TensorProto]) -> tuple[set[str], set[str]]:
    front: set[str] = set()
    levels, edges, ends = {INPUT}, set[str](), set[str]()
    read = readers(graph)
    for node in graph.node:
        data = [name for name in node.input if name and name not in weights]
        if not data:
            continue
        if set(data) <= levels and _keeps_levels(node, weights):
            levels.update(node.output)
            edges.update(node.output if node.op_type == "Conv" else ())
            front.update(() if _changes_type(node) else (node.name,))
        elif node.op_type in _ACTIVATIONS and set(data) <= edges and read[data[0]] == 1:
            # A runtime makes one layer of both; what follows reads no differences any more.
            front.add(node.name)
            ends.update(node.output)
    return front, levels | ends


def _keeps_levels(node: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    if node.op_type in _MOVES | _SHIFTS | _TYPE_CHANGES:
        return True
    kernels = weights.get(node.input[1]) if node.op_type == "Conv" else None
    return kernels is not None and is_difference(numpy_helper.to_array(kernels))


def _changes_type(node: NodeProto) -> bool:
    """Whether it does so past the first Cast, which gives float32."""
    return node.op_type in _TYPE_CHANGES and INPUT not in node.input


def _tail(graph: GraphProto) -> set[str]:
    head = _head(graph)
    tail, made = {head.name}, set(head.output)
    for node in graph.node:
        if made & set(node.input):
            tail.add(node.name)
            made.update(node.output)
    return tail


def _head(graph: GraphProto) -> NodeProto:
    outputs = {value.name for value in graph.output}
    made_by: dict[str, NodeProto] = {n: node for node in graph.node for n in node.output}
    name = PATCH_LOGITS if PATCH_LOGITS in outputs else LOGIT
    while name in made_by:
        node: NodeProto = made_by[name]
        if node.op_type in _WEIGHTED:
            return node
        name = node.input[0] if node.input else ""
    raise ContractError(
        f"Expected {' or '.join(sorted(_WEIGHTED))} before the output {name or LOGIT}, found none. "
        "Export the model again with 'patchwatch export'."
    )
