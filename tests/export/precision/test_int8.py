"""int8 by scales: what TensorRT asks of the file, and what is never quantised."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edge.errors import ModelError
from export.compare import Session, textured
from export.graph import INPUT, LOGIT
from export.lint import lint
from export.precision.int8 import mean_shift, on_grid, put_on_grid, to_int8
from export.precision.parts import constants, parts_of
from export.precision.variants import sign
from tests.export.models import lively_graph

ROOT = Path(__file__).resolve().parents[3]
PICTURES = [textured((1, 72, 80)), textured((1, 64, 96))]
MODELS = [
    ("tiny_ladeda", "NPR"),
    ("tiny_ladeda", "x_grad"),
    ("lite0_magnitudes_s16", "raw"),
    ("ladeda5", "NPR"),
]


@functools.cache
def quantised(architecture: str, preprocessing: str) -> ModelProto:
    made = to_int8(lively_graph(architecture, preprocessing), PICTURES)
    sign(made, "int8")
    return made


def of_kind(model: ModelProto, *kinds: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type in kinds]


@pytest.mark.parametrize(("architecture", "preprocessing"), MODELS)
@pytest.mark.slow
def test_it_is_what_every_tensorrt_reads(architecture: str, preprocessing: str) -> None:
    made = quantised(architecture, preprocessing)
    assert lint(made) == []  # opset, IR, first Cast, three inputs, scales, zero points
    assert [entry.key for entry in made.metadata_props] == ["patchwatch"]
    # Biases stay in float, or one would be INT32 before a DequantizeLinear.
    kinds = {tensor.data_type for tensor in constants(made.graph).values()}
    assert TensorProto.INT32 not in kinds


@pytest.mark.parametrize(("architecture", "preprocessing"), MODELS)
def test_the_front_and_the_head_are_left_alone(architecture: str, preprocessing: str) -> None:
    model, made = lively_graph(architecture, preprocessing), quantised(architecture, preprocessing)
    exact = parts_of(model.graph)
    old, new = constants(model.graph), constants(made.graph)
    nodes = {node.name: node for node in made.graph.node}
    for node in model.graph.node:
        kept = node.name in exact.exact
        reads_levels = node.op_type == "Conv" and node.input[0] in exact.levels
        if kept or reads_levels:
            assert nodes[node.name].input == node.input
            for name in node.input:
                if name in old:
                    pair = [numpy_helper.to_array(tensors[name]) for tensors in (old, new)]
                    assert np.array_equal(pair[0], pair[1])
    for node in of_kind(made, "QuantizeLinear"):
        assert node.input[0] not in exact.levels


def test_convolutions_read_int8_and_kernels_have_a_step_per_channel() -> None:
    made = quantised("lite0_magnitudes_s16", "raw")
    made_by = {name: node for node in made.graph.node for name in node.output}
    exact = parts_of(made.graph).exact
    body = [n for n in of_kind(made, "Conv") if n.name not in exact and "stem" not in n.name]
    assert body
    known = constants(made.graph)
    for conv in body:
        data, kernel = (made_by[name] for name in conv.input[:2])
        assert data.op_type == kernel.op_type == "DequantizeLinear"
        assert conv.input[2] in known
        scales = numpy_helper.to_array(known[kernel.input[1]])
        values = numpy_helper.to_array(known[made_by[kernel.input[0]].input[0]])
        assert scales.shape == values.shape[:1]
        steps = values / scales[:, None, None, None]
        assert np.allclose(steps, np.rint(steps), atol=1e-3) and np.abs(steps).max() < 127.01


@pytest.mark.parametrize(("architecture", "preprocessing"), [MODELS[2], MODELS[3]])
def test_a_residual_sum_reads_one_convolution_as_it_is(
    architecture: str, preprocessing: str
) -> None:
    made = quantised(architecture, preprocessing)
    made_by = {name: node for node in made.graph.node for name in node.output}
    sums = of_kind(made, "Add")
    assert sums
    for node in sums:
        kinds = sorted(made_by[name].op_type for name in node.input)
        assert kinds == ["Conv", "DequantizeLinear"]
    read = {name for node in made.graph.node for name in node.input} | {
        value.name for value in made.graph.output
    }
    assert all(set(node.output) & read for node in made.graph.node)


def test_it_says_nearly_what_float32_says() -> None:
    model, made = (
        lively_graph("lite0_magnitudes_s16", "raw"),
        quantised("lite0_magnitudes_s16", "raw"),
    )
    frames = {INPUT: textured((1, 96, 96))}
    (exact,), (found,) = (
        Session(m.SerializeToString(), as_written=True).run([LOGIT], frames) for m in (model, made)
    )
    assert 1e-6 < abs(float(found[0] - exact[0])) < 0.2


def test_a_model_without_a_body_is_refused() -> None:
    model = lively_graph("tiny_ladeda", "raw")
    # The body's convolutions become activations, so that only the stem and the head are left.
    for node in model.graph.node:
        if node.name in ("/trunk/trunk.2/Conv", "/trunk/trunk.4/Conv"):
            node.op_type = "Relu"
            del node.input[1:], node.attribute[:]
    with pytest.raises(ModelError, match="the head, found none"):
        to_int8(model, PICTURES)


def test_the_same_pictures_give_the_same_bytes() -> None:
    script = """
        import hashlib
        from export.compare import textured
        from export.precision.int8 import to_int8
        from tests.export.models import lively_graph
        made = to_int8(lively_graph("tiny_ladeda", "raw"), [textured((1, 48, 56))])
        print(hashlib.sha256(made.SerializeToString()).hexdigest())
    """
    found = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_every_weight_is_a_multiple_of_its_channels_step() -> None:
    kernels = np.random.default_rng(0).normal(0, [[[[1]]], [[[50]]]], (2, 3, 3, 3))
    steps = np.abs(kernels).max((1, 2, 3), keepdims=True) / 127
    multiples = on_grid(kernels) / steps
    assert np.allclose(multiples, np.rint(multiples), atol=1e-9)
    assert np.abs(multiples).max((1, 2, 3)).tolist() == pytest.approx([127, 127])
    kernels[1] = 0
    assert not on_grid(kernels)[1].any()


def test_the_shift_of_groups_by_hand() -> None:
    change = np.array([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1, 1)
    # Two groups: the first two outputs read channel 0, the others channel 1.
    assert mean_shift(change, np.array([10.0, 100.0])).tolist() == [10, 20, 300, 400]
    wide = np.array([[[[1.0, 1.0]], [[2.0, 0.0]]]])
    assert mean_shift(wide, np.array([3.0, 5.0])).tolist() == [2 * 3 + 2 * 5]


def test_biases_bring_the_means_back() -> None:
    names = ["/trunk/trunk.2/Conv_output_0"]

    def mean(model: ModelProto) -> np.ndarray:
        model.graph.output.add().name = names[0]
        session = Session(model.SerializeToString())
        maps = [session.run(names, {INPUT: batch})[0].mean((0, 2, 3)) for batch in PICTURES]
        return np.asarray(np.mean(maps, axis=0))

    exact, moved = lively_graph(), lively_graph()
    put_on_grid(moved, ["/trunk/trunk.2/Conv"], PICTURES)
    old, new = (constants(model.graph)["trunk.2.weight"] for model in (exact, moved))
    assert np.abs(numpy_helper.to_array(old) - numpy_helper.to_array(new)).max() > 1e-4
    assert np.abs(mean(moved) - mean(exact)).max() < 1e-5


def test_a_bias_that_others_read_is_copied_and_an_absent_one_made() -> None:
    model = lively_graph()
    nodes = {node.name: node for node in model.graph.node}
    shared = nodes["/trunk/trunk.2/Conv"].input[2] = nodes["/trunk/trunk.4/Conv"].input[2]
    before = numpy_helper.to_array(constants(model.graph)[shared]).copy()
    put_on_grid(model, ["/trunk/trunk.2/Conv"], PICTURES)
    own = nodes["/trunk/trunk.2/Conv"].input[2]
    assert own == f"{shared}.of.trunk/trunk.2/Conv"
    made = constants(model.graph)
    assert np.array_equal(numpy_helper.to_array(made[shared]), before)
    assert not np.array_equal(numpy_helper.to_array(made[own]), before)
    del nodes["/trunk/trunk.4/Conv"].input[2]
    put_on_grid(model, ["/trunk/trunk.4/Conv"], PICTURES)
    bias = constants(model.graph)[nodes["/trunk/trunk.4/Conv"].input[2]]
    assert numpy_helper.to_array(bias).shape == (16,)
