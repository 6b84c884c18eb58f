"""A model file whose body computes in int8, by scales written into its graph (Q/DQ).

Convolutions of the body read int8 (a QuantizeLinear and a DequantizeLinear before each), and so do
residual sums and average pools, so that a runtime keeps int8 between them. Never quantised: the
front and the convolutions that read its levels, whose small values are what the model looks at; the
tail and what it reads; the biases. These stay in float32, and so does every result that nothing
quantises.

TensorRT 8 takes kernels as float32 with a Q/DQ pair of their own and not as int8, so that the file
is as large as the float32 one. Its kernels lie on the grid of int8 already.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, StringStringEntryProto
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from edge.errors import ModelError
from edge.types import Batch
from export.graph import INPUT
from export.precision.kernels import put_on_grid
from export.precision.parts import parts_of, readers
from export.precision.rounding import Rounding, keep_sums

METHOD = CalibrationMethod.Percentile
"""How the range of an activation is read off the calibration pictures; see docs/precision.md."""

OPERATORS = ("Conv", "Add", "AveragePool")

OPTIONS: dict[str, Any] = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
    "DedicatedQDQPair": True,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
    # One picture at a time: all results of all pictures at once would take gigabytes.
    "CalibStridedMinMax": 1,
}
"""What TensorRT 8.5 to 11 read alike: zero points of zero and float32 biases."""

_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Says that the graph needs no preparation; without it ONNX Runtime logs advice on stderr."""

Tell = Callable[[int, int], None]
"""Told how many pictures of how many are done."""


def to_int8(
    model: ModelProto,
    pictures: Sequence[Batch],
    tell: Tell = lambda done, total: None,
    *,
    method: CalibrationMethod = METHOD,
    rounding: Rounding = keep_sums,
    correct_biases: bool = True,
) -> ModelProto:
    """Quantise the body of a float32 model file; without a change of the manifest.

    Args:
        model: float32, linted; left unchanged.
        pictures: to calibrate on, each uint8 [N, H, W, 3] BGR; at least one.
        tell: progress.
        method: of reading ranges.
        rounding: of kernels.
        correct_biases: whether biases make up for the mean error of the kernels.

    Raises:
        ModelError: the model has nothing to quantise, or ONNX Runtime refuses it.
    """
    prepared = ModelProto()
    prepared.CopyFrom(model)
    convs, kept = _sorted_out(prepared.graph)
    if not convs:
        raise ModelError(
            "int8: expected convolutions between those that read grey levels and the head, found "
            "none. Keep this model at --precision fp32 or fp16."
        )
    put_on_grid(prepared, convs, pictures if correct_biases else (), rounding)
    quantised = _quantised(prepared, kept, _Pictures(pictures, tell), method)
    _tidy(quantised, model)
    return quantised


def _sorted_out(graph: GraphProto) -> tuple[list[str], list[str]]:
    """Names of the convolutions to be quantised, and of all nodes that must not be."""
    parts = parts_of(graph)
    kept = {
        node.name
        for node in graph.node
        if node.name in parts.exact or (node.op_type == "Conv" and node.input[0] in parts.levels)
    }
    convs = [n.name for n in graph.node if n.op_type == "Conv" and n.name not in kept]
    return convs, sorted(kept)


def _quantised(
    model: ModelProto, kept: Sequence[str], reader: _Pictures, method: CalibrationMethod
) -> ModelProto:
    key, value = _PREPARED
    model.metadata_props.append(StringStringEntryProto(key=key, value=value))
    # It prints a line for each picture.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        output = Path(folder) / "model.onnx"
        try:
            quantize_static(
                model,
                output,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(kept),
                calibrate_method=method,
                extra_options=dict(OPTIONS),
            )
        except Exception as error:  # ONNX Runtime's errors share no base but this
            raise ModelError(f"ONNX Runtime cannot quantise the model: {error}") from error
        return onnx.load_model(str(output))


class _Pictures:
    """A data reader as ONNX Runtime wants one, told of its portions by `set_range`."""

    def __init__(self, pictures: Sequence[Batch], tell: Tell) -> None:
        self._pictures = pictures
        self._tell = tell
        self.set_range(0, len(pictures))

    def __len__(self) -> int:
        return len(self._pictures)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._indices = iter(range(start_index, min(end_index, len(self))))

    def get_next(self) -> dict[str, Batch] | None:
        index = next(self._indices, None)
        if index is None:
            return None
        self._tell(index, len(self))
        return {INPUT: self._pictures[index]}


def _tidy(quantised: ModelProto, model: ModelProto) -> None:
    """Bring what ONNX Runtime wrote back to the shape of our files."""
    quantised.producer_name = model.producer_name
    quantised.producer_version = model.producer_version
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(model.metadata_props)
    graph = quantised.graph
    del graph.value_info[:]
    tail = parts_of(graph).tail
    for node in list(graph.node):
        if node.name in tail:
            _read_unquantised(graph, node, range(len(node.input)))
        elif node.op_type == "Add":
            _read_unquantised(graph, node, _fusible_branch(graph, node))
    # The first node must be the Cast; the others were sorted, and stay so.
    nodes = sorted(graph.node, key=lambda node: INPUT not in node.input)
    del graph.node[:]
    graph.node.extend(nodes)


def _fusible_branch(graph: GraphProto, add: NodeProto) -> list[int]:
    """The input of a residual sum that is a convolution's result; of two, the later one.

    TensorRT adds the other, in int8, inside that convolution if it reads its result unquantised.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    order = {node.name: place for place, node in enumerate(graph.node)}
    found = []
    for index, name in enumerate(add.input):
        pair = list(_pair_before(made_by, name))
        source = made_by.get(pair[-1].input[0]) if len(pair) == 2 else None
        if source is not None and source.op_type == "Conv":
            found.append((order[source.name], index))
    return [index for _, index in sorted(found)[-1:]]


def _read_unquantised(graph: GraphProto, reader: NodeProto, indices: Iterable[int]) -> None:
    """Take the Q/DQ pairs before some inputs of a node away, where nobody else reads them."""
    made_by = {name: node for node in graph.node for name in node.output}
    for index in indices:
        pair = list(_pair_before(made_by, reader.input[index]))
        if len(pair) != 2:
            continue
        reader.input[index] = pair[-1].input[0]
        for node in pair:
            if not readers(graph)[node.output[0]]:
                graph.node.remove(node)


def _pair_before(made_by: dict[str, NodeProto], name: str) -> Iterator[NodeProto]:
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        node = made_by.get(name)
        if node is None or node.op_type != kind:
            return
        yield node
        name = node.input[0]
