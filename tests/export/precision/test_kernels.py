"""Kernels on the grid of int8, and biases that take up their mean error."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from export.graph import INPUT
from export.parity import textured
from export.precision.kernels import mean_shift, on_grid, put_on_grid
from export.precision.parts import constants
from export.precision.rounding import Weights
from export.precision.session import Session
from tests.export.models import lively_graph


def test_every_weight_is_a_multiple_of_its_channels_step() -> None:
    kernels = np.random.default_rng(0).normal(0, [[[[1]]], [[[50]]]], (2, 3, 3, 3))
    steps = np.abs(kernels).max((1, 2, 3), keepdims=True) / 127
    multiples = on_grid(kernels) / steps
    assert np.allclose(multiples, np.rint(multiples), atol=1e-9)
    assert np.abs(multiples).max((1, 2, 3)).tolist() == pytest.approx([127, 127])


def test_a_channel_of_zeros_stays_one() -> None:
    kernels = np.zeros((2, 1, 2, 2))
    kernels[0] = 1
    assert np.array_equal(on_grid(kernels), kernels)


def test_the_shift_of_groups_by_hand() -> None:
    change = np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1)
    # Two groups: the first two outputs read channel 0, the others channel 1.
    assert mean_shift(change, np.array([10.0, 100.0])).tolist() == [10, 20, 300, 400]
    wide = np.array([[[[1.0, 1.0]], [[2.0, 0.0]]]])
    assert mean_shift(wide, np.array([3.0, 5.0])).tolist() == [2 * 3 + 2 * 5]


def test_biases_bring_the_means_back() -> None:
    names = ["/trunk/trunk.2/Conv_output_0"]
    frames = [textured((1, 60, 70)), textured((1, 80, 50))]

    def mean(correct: bool, moved: bool = True) -> Weights:
        model = lively_graph("tiny_ladeda", "x_grad")
        if moved:
            put_on_grid(model, ["/trunk/trunk.2/Conv"], frames if correct else ())
        model.graph.output.add().name = names[0]
        session = Session(model.SerializeToString())
        maps = [session.run(names, {INPUT: batch})[0].mean((0, 2, 3)) for batch in frames]
        found: Weights = np.mean(maps, axis=0)
        return found

    exact = mean(correct=False, moved=False)
    assert np.abs(mean(correct=True) - exact).max() < 1e-5
    assert np.abs(mean(correct=False) - exact).max() > 1e-4


def test_a_bias_that_others_read_is_copied() -> None:
    model = lively_graph("gated_experts_deviation", "x_grad")
    (gate,) = [node for node in model.graph.node if node.name == "/trunk/gate/Conv"]
    shared = gate.input[2]
    weight = constants(model.graph)[gate.input[1]]
    values = np.random.default_rng(4).normal(0, 1, weight.dims).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    put_on_grid(model, [gate.name], [textured((1, 64, 64))])
    assert gate.input[2] == f"{shared}.of.trunk/gate/Conv"
    made = constants(model.graph)
    assert not numpy_helper.to_array(made[shared]).any()
    assert numpy_helper.to_array(made[gate.input[2]]).any()


def test_a_convolution_without_a_bias_gets_one() -> None:
    model = lively_graph("tiny_ladeda", "x_grad")
    (conv,) = [node for node in model.graph.node if node.name == "/trunk/trunk.2/Conv"]
    del conv.input[2]
    put_on_grid(model, [conv.name], [textured((1, 40, 40))])
    assert numpy_helper.to_array(constants(model.graph)[conv.input[2]]).shape == (16,)
