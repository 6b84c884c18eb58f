"""A model file whose body computes in half precision, with the types written into its graph.

    frames → Cast → front (float32) → Cast → body (half) → Cast → head and pooling (float32)

The head could be on either side: on real pictures the logit of the model that half precision moves
most is a little closer with the head in float32, and one channel of outputs costs nothing
(docs/precision.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge.errors import ModelError
from edge.rounding import keep_sums
from export.graph import TYPED_IR_VERSION, TYPED_OPSET
from export.precision.parts import constants, parts_of

LARGEST = float(np.finfo(np.float16).max)

_FLOAT_INPUTS = {"Resize": (1, 2)}
"""Operator → inputs that are float32 whatever the type of the data."""


def to_half(model: ModelProto) -> ModelProto:
    """Give the body of a float32 model file half precision; without a change of the manifest.

    Weights too small for it become zero or lose digits, each by at most 3e-8. The model is linted
    and left unchanged; ModelError for a weight beyond half precision.
    """
    half = ModelProto()
    half.CopyFrom(model)
    _Halving(half.graph).apply()
    return half


def half_between(model: ModelProto) -> ModelProto:
    """Give an int8 file half precision wherever its body is not int8, in its stem and sums too.

    From opset 19 on a dequantiser gives the type of its scale. Scales below the smallest normal
    half are raised to it, which moves a weight by 3e-5 at most. The model is left unchanged.
    """
    raised = ModelProto()
    raised.CopyFrom(model)
    tensors = constants(raised.graph)
    for node in raised.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = tensors[node.input[1]]
            values = np.maximum(numpy_helper.to_array(scale), np.finfo(np.float16).tiny)
            scale.CopyFrom(numpy_helper.from_array(values.astype(np.float32), scale.name))
    made = to_half(raised)
    made.opset_import[0].version, made.ir_version = TYPED_OPSET, TYPED_IR_VERSION
    for node in made.graph.node:
        if node.op_type == "ReduceMean":  # whose axes are an input since opset 18
            axes = next(entry for entry in node.attribute if entry.name == "axes")
            name = f"{node.name}.axes"
            made.graph.initializer.append(numpy_helper.from_array(np.array(axes.ints), name))
            node.attribute.remove(axes)
            node.input.append(name)
    return made


class _Halving:
    """Rewrites a graph node by node, with a Cast where a tensor is first needed in another type."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._exact = parts_of(graph).exact
        self._constants = constants(graph)
        self._is_half: dict[str, bool] = {}
        self._casts: dict[tuple[str, bool], str] = {}
        self._nodes: list[NodeProto] = []

    def apply(self) -> None:
        users: dict[str, list[tuple[NodeProto, int]]] = defaultdict(list)
        for node in self._graph.node:
            for index, name in enumerate(node.input):
                users[name].append((node, index))
        for name, tensor in list(self._constants.items()):
            if tensor.data_type == TensorProto.FLOAT:
                self._halve(name, tensor, users[name])
        for node in list(self._graph.node):
            self._add(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.value_info[:]

    def _halve(self, name: str, tensor: TensorProto, users: list[tuple[NodeProto, int]]) -> None:
        """In place where the body alone reads a constant, else as a copy for the body."""
        body = [user for user in users if self._reads_half(*user)]
        if not body:
            return
        exact = numpy_helper.to_array(tensor)
        largest = float(np.abs(exact).max(initial=0))
        if not largest <= LARGEST:
            raise ModelError(
                f"{name} holds {largest:.3g}, and half precision ends at {LARGEST:.0f}. Keep this "
                "model at --precision fp32."
            )
        values = exact.astype(np.float16)
        if exact.ndim == 4 and all(node.op_type == "Conv" and index == 1 for node, index in body):
            values = keep_sums(exact.astype(np.float64), _nearest).astype(np.float16)
        if len(body) == len(users):
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return
        copy = f"{name}.half"
        self._graph.initializer.append(numpy_helper.from_array(values, copy))
        for node, index in body:
            node.input[index] = copy

    def _reads_half(self, node: NodeProto, index: int) -> bool:
        return node.name not in self._exact and index not in _FLOAT_INPUTS.get(node.op_type, ())

    def _add(self, node: NodeProto) -> None:
        half = node.name not in self._exact
        if node.op_type != "Constant":
            for index, name in enumerate(node.input):
                if name in self._is_half and self._is_half[name] != half:
                    node.input[index] = self._cast(name, half)
            self._is_half |= dict.fromkeys(node.output, half)
        self._nodes.append(node)

    def _cast(self, name: str, half: bool) -> str:
        """The tensor in the other type; one Cast for all who read it."""
        if (name, half) not in self._casts:
            kind = "half" if half else "float"
            result = f"{name}_{kind}"
            to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            label = f"/{kind}/Cast_{len(self._casts)}"
            self._nodes.append(helper.make_node("Cast", [name], [result], label, to=to))
            self._casts[name, half] = result
        return self._casts[name, half]


def _nearest(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return values.astype(np.float16).astype(np.float64)


def rounding_in_float(model: ModelProto) -> ModelProto:
    """A copy in float32 that rounds every result where a graph of `to_half` stores one.

    ONNX Runtime computes half precision on most CPUs in float32 and skips the rounding between two
    nodes, so that it would show neither its error nor an overflow. Of a GPU this is the case that
    sums in float32 and stores halves; one that sums in half precision is less exact.
    """
    shown = ModelProto()
    shown.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    halves = {
        value.name
        for value in inferred.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    for tensor in constants(shown.graph).values():
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes = [new for node in shown.graph.node for new in _with_rounding(node, halves)]
    del shown.graph.node[:]
    shown.graph.node.extend(nodes)
    return shown


def _with_rounding(node: NodeProto, halves: set[str]) -> Iterator[NodeProto]:
    if node.op_type == "Constant" or node.output[0] not in halves:
        yield node
        return
    name = node.output[0]
    stored = f"{name}.stored"
    if node.op_type == "Cast":
        node.output[0] = stored
        yield node
    else:
        node.output[0] = f"{name}.exact"
        yield node
        yield helper.make_node("Cast", [node.output[0]], [stored], to=TensorProto.FLOAT16)
    yield helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT)
