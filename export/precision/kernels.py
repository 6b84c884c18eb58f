"""Kernels on the grid of int8, and biases that take up what that costs on average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge.types import Batch
from export.graph import INPUT
from export.precision.parts import constants, readers
from export.precision.rounding import Rounding, Weights, keep_sums
from export.precision.session import Session

STEPS = 127
"""Largest int8 in use: TensorRT takes weights from −127 to 127 only."""

Means = Mapping[str, npt.NDArray[np.float64]]
"""Tensor → mean of each channel, float64 [C]."""


def put_on_grid(
    model: ModelProto,
    convs: Sequence[str],
    pictures: Sequence[Batch],
    rounding: Rounding = keep_sums,
) -> None:
    """Move kernels to whole multiples of a step, and let biases make up for the mean error.

    Each output channel has its step, a 127th of its largest weight. What a kernel's change adds to
    its channel on average over the pictures is taken off the bias (bias correction: Nagel et al.,
    Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.2; here
    with the means of real pictures).

    Args:
        model: float32; changed.
        convs: names of the convolutions.
        pictures: each uint8 [N, H, W, 3] BGR; without any, biases stay.
        rounding: of kernels.
    """
    nodes = [node for node in model.graph.node if node.name in set(convs)]
    means = _input_means(model, nodes, pictures) if pictures else {}
    for node in nodes:
        _own_constants(model.graph, node)
    tensors = constants(model.graph)
    for node in nodes:
        kernel, bias = tensors[node.input[1]], tensors[node.input[2]]
        exact = numpy_helper.to_array(kernel).astype(np.float64)
        moved = on_grid(exact, rounding)
        _fill(kernel, moved)
        if means:
            shift = mean_shift(exact - moved, means[node.input[0]])
            _fill(bias, numpy_helper.to_array(bias) + shift)


def on_grid(kernels: Weights, rounding: Rounding = keep_sums) -> Weights:
    """Kernels [O, C, h, w] with every weight a whole multiple of its output channel's step."""
    largest = np.abs(kernels).max((1, 2, 3), keepdims=True)
    step = np.where(largest > 0, largest, 1.0) / STEPS
    return step * rounding(kernels / step, lambda x: np.clip(np.rint(x), -STEPS, STEPS))


def mean_shift(change: Weights, means: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What a change of kernels adds to each output channel where all inputs have their means.

    Args:
        change: [O, C / groups, h, w].
        means: of the input's channels, [C].

    Returns:
        [O].
    """
    outputs, inputs = change.shape[:2]
    groups = len(means) // inputs
    sums = change.sum((2, 3)).reshape(groups, outputs // groups, inputs)
    shift: npt.NDArray[np.float64] = (sums @ means.reshape(groups, inputs, 1)).reshape(outputs)
    return shift


def _input_means(model: ModelProto, nodes: Sequence[NodeProto], pictures: Sequence[Batch]) -> Means:
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
    for index in _shared(node, read):
        values = numpy_helper.to_array(tensors[node.input[index]])
        node.input[index] = f"{node.input[index]}.of.{node.name.lstrip('/')}"
        graph.initializer.append(numpy_helper.from_array(values, node.input[index]))


def _shared(node: NodeProto, read: Mapping[str, int]) -> Iterator[int]:
    return (index for index in (1, 2) if read[node.input[index]] > 1)


def _fill(tensor: TensorProto, values: npt.NDArray[np.floating]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
