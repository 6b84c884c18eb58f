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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from edge.errors import ModelError
from edge.rounding import Weights, keep_sums
from edge.types import Batch
from export.compare import Session
from export.graph import INPUT
from export.precision.parts import constants, parts_of, readers

METHOD = CalibrationMethod.Percentile
"""How the range of an activation is read off the calibration pictures; see docs/precision.md."""

STEPS = 127
"""Largest int8 in use: TensorRT takes weights from −127 to 127 only."""

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
"""Called with how many pictures of how many are done."""


def to_int8(
    model: ModelProto, pictures: Sequence[Batch], tell: Tell = lambda done, total: None
) -> ModelProto:
    """Quantise the body of a float32 model file; without a change of the manifest.

    The model is linted and left unchanged. It is calibrated on the pictures, each uint8
    [N, H, W, 3] BGR; at least one. ModelError where it has nothing to quantise, or ONNX Runtime
    refuses it.
    """
    prepared = ModelProto()
    prepared.CopyFrom(model)
    parts = parts_of(prepared.graph)
    kept = {
        node.name
        for node in prepared.graph.node
        if node.name in parts.exact or (node.op_type == "Conv" and node.input[0] in parts.levels)
    }
    convs = [n.name for n in prepared.graph.node if n.op_type == "Conv" and n.name not in kept]
    if not convs:
        raise ModelError(
            "int8: expected convolutions between those that read grey levels and the head, found "
            "none. Keep this model at --precision fp32 or fp16."
        )
    put_on_grid(prepared, convs, pictures)
    quantised = _quantised(prepared, sorted(kept), _Pictures(pictures, tell))
    _tidy(quantised, model)
    return quantised


def put_on_grid(model: ModelProto, convs: Sequence[str], pictures: Sequence[Batch]) -> None:
    """Move kernels to whole multiples of a step, and let biases make up for the mean error.

    Each output channel has its step, a 127th of its largest weight. What a kernel's change adds to
    its channel on average over the pictures is taken off the bias (bias correction: Nagel et al.,
    Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2; here
    with the means of real pictures). Changes the model; `convs` are the convolutions' names.
    """
    nodes = [node for node in model.graph.node if node.name in set(convs)]
    means = _input_means(model, nodes, pictures)
    for node in nodes:
        _own_constants(model.graph, node)
    tensors = constants(model.graph)
    for node in nodes:
        kernel, bias = tensors[node.input[1]], tensors[node.input[2]]
        exact = numpy_helper.to_array(kernel).astype(np.float64)
        moved = on_grid(exact)
        shift = mean_shift(exact - moved, means[node.input[0]])
        for tensor, values in ((kernel, moved), (bias, numpy_helper.to_array(bias) + shift)):
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def on_grid(kernels: Weights) -> Weights:
    """Kernels [O, C, h, w] with every weight a whole multiple of its output channel's step."""
    largest = np.abs(kernels).max((1, 2, 3), keepdims=True)
    step = np.where(largest > 0, largest, 1.0) / STEPS
    return step * keep_sums(kernels / step, lambda x: np.clip(np.rint(x), -STEPS, STEPS))


def mean_shift(change: Weights, means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a change of kernels [O, C / groups, h, w] adds to each output channel, [O], where all
    inputs have their means, [C].
    """
    outputs, inputs = change.shape[:2]
    groups = len(means) // inputs
    sums = change.sum((2, 3)).reshape(groups, outputs // groups, inputs)
    shift: npt.NDArray[np.float64] = (sums @ means.reshape(groups, inputs, 1)).reshape(outputs)
    return shift


def _input_means(
    model: ModelProto, nodes: Sequence[NodeProto], pictures: Sequence[Batch]
) -> Mapping[str, npt.NDArray[np.float64]]:
    """What each convolution reads → the mean of each channel, float64 [C]."""
    names = list(dict.fromkeys(node.input[0] for node in nodes))
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = [f"mean.{index}" for index in range(len(names))]
    for name, output in zip(names, outputs, strict=True):
        watched.graph.node.append(helper.make_node("GlobalAveragePool", [name], [output]))
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        watched.graph.output.append(info)
    session = Session(watched.SerializeToString())
    found = [session.run(outputs, {INPUT: frames}) for frames in pictures]
    columns = zip(*found, strict=True)
    return {
        name: np.mean([maps.mean((0, 2, 3), dtype=np.float64) for maps in column], axis=0)
        for name, column in zip(names, columns, strict=True)
    }


def _own_constants(graph: GraphProto, node: NodeProto) -> None:
    """Give a convolution a kernel and a bias that nobody else reads; the exporter shares equals."""
    tensors, read = constants(graph), readers(graph)
    if len(node.input) < 3:
        zeros = np.zeros(tensors[node.input[1]].dims[0], np.float32)
        node.input.append(f"{node.name}.bias")
        graph.initializer.append(numpy_helper.from_array(zeros, node.input[2]))
    for index in [index for index in (1, 2) if read[node.input[index]] > 1]:
        values = numpy_helper.to_array(tensors[node.input[index]])
        node.input[index] = f"{node.input[index]}.of.{node.name.lstrip('/')}"
        graph.initializer.append(numpy_helper.from_array(values, node.input[index]))


class _Pictures:
    """A data reader as ONNX Runtime wants one; it asks for portions by `set_range`."""

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


def _quantised(model: ModelProto, kept: Sequence[str], reader: _Pictures) -> ModelProto:
    key, value = _PREPARED
    model.metadata_props.add(key=key, value=value)
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
                calibrate_method=METHOD,
                extra_options=dict(OPTIONS),
            )
        except Exception as error:  # ONNX Runtime's errors share no base but this
            raise ModelError(f"ONNX Runtime cannot quantise the model: {error}") from error
        return onnx.load_model(str(output))


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
        pair = _pair_before(made_by, name)
        source = made_by.get(pair[1].input[0]) if pair else None
        if source is not None and source.op_type == "Conv":
            found.append((order[source.name], index))
    return [index for _, index in sorted(found)[-1:]]


def _read_unquantised(graph: GraphProto, reader: NodeProto, indices: Iterable[int]) -> None:
    """Take the Q/DQ pairs before some inputs of a node away, where nobody else reads them."""
    made_by = {name: node for node in graph.node for name in node.output}
    for index in indices:
        pair = _pair_before(made_by, reader.input[index])
        if pair:
            reader.input[index] = pair[1].input[0]
        for node in pair:
            if not readers(graph)[node.output[0]]:
                graph.node.remove(node)


def _pair_before(made_by: Mapping[str, NodeProto], name: str) -> tuple[NodeProto, ...]:
    """DequantizeLinear and the QuantizeLinear before it, where these make a tensor."""
    after = made_by.get(name)
    if after is None or after.op_type != "DequantizeLinear":
        return ()
    before = made_by.get(after.input[0])
    if before is None or before.op_type != "QuantizeLinear":
        return ()
    return after, before
