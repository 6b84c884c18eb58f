"""Half precision by types: where they change, what stays exact, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge.errors import ModelError
from export import compare
from export.compare import Judge, Session, textured
from export.graph import INPUT, LOGIT, PATCH_LOGITS
from export.lint import lint
from export.precision.half import rounding_in_float, to_half
from export.precision.parts import constants, parts_of
from export.precision.variants import sign
from tests.export.models import lively_graph
from training.models import PREPROCESSINGS


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "shapes_from", lambda least: ((1, 64, 64), (2, 71, 80)))


EXACT = ("/Cast", "/Transpose", "/pixels/", "/head/", "/Squeeze", "/pooling/", "/ReduceMean")
MODELS = pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [
        *(("tiny_ladeda", name) for name in PREPROCESSINGS),
        ("lite0_levels", "raw"),
        ("lite0_magnitudes_s16", "x_grad"),
        ("ladeda5", "right_diag"),
    ],
)


def half(architecture: str, preprocessing: str) -> ModelProto:
    made = to_half(lively_graph(architecture, preprocessing))
    sign(made, "fp16")
    return made


def types(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {
        value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)
    }


@MODELS
def test_every_type_is_where_it_belongs(architecture: str, preprocessing: str) -> None:
    made = half(architecture, preprocessing)
    assert lint(made) == []
    found = types(made)
    for node in made.graph.node:
        exact = node.op_type != "Constant" and node.name.startswith((*EXACT, "/float/"))
        wanted = TensorProto.FLOAT if exact else TensorProto.FLOAT16
        assert node.op_type == "Constant" or found[node.output[0]] == wanted, node.name
    casts = [node for node in made.graph.node if node.op_type == "Cast"]
    changes = Counter((n.input[0], n.attribute[0].i) for n in casts)
    assert max(changes.values()) == 1
    assert sorted(kind for _, kind in changes) == [1, 1, TensorProto.FLOAT16]


@MODELS
def test_the_front_gives_the_same_bits(architecture: str, preprocessing: str) -> None:
    model = lively_graph(architecture, preprocessing)
    front = parts_of(model.graph).front
    ends = [n.output[0] for n in model.graph.node if n.name in front and n.op_type != "Cast"]
    found = []
    for graph in (model, to_half(model)):
        watched = ModelProto()
        watched.CopyFrom(graph)
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ends]
        watched.graph.output.extend(infos)
        session = Session(watched.SerializeToString(), as_written=True)
        found.append(session.run(ends, {INPUT: textured((2, 41, 58))}))
    for exact, typed in zip(*found, strict=True):
        assert exact.dtype == typed.dtype == np.float32
        assert np.array_equal(exact, typed)


def test_a_shared_constant_becomes_two_of_different_types() -> None:
    model = lively_graph()
    nodes = {node.name: node for node in model.graph.node}
    # The exporter keeps equal weights once, whichever part of the graph reads them.
    shared = nodes["/trunk/trunk.4/Conv"].input[2]
    nodes["/head/Conv"].input[2] = shared
    made = constants(to_half(model).graph)
    assert made[shared].data_type == TensorProto.FLOAT
    assert made[f"{shared}.half"].data_type == TensorProto.FLOAT16


def test_it_is_near_and_half_as_large() -> None:
    model = lively_graph("lite0_magnitudes_s16", "raw")
    made = half("lite0_magnitudes_s16", "raw")
    assert made.ByteSize() < 0.55 * model.ByteSize()
    rows = compare.compare_files(Judge(model), Judge(made), [textured((1, 80, 96))])
    compare.require(rows)
    assert all((row.difference.patch or 0) > 1e-6 for row in rows)


def test_a_weight_beyond_half_precision_is_refused() -> None:
    model = lively_graph()
    weight = next(t for t in model.graph.initializer if t.name == "trunk.2.weight")
    large = numpy_helper.to_array(weight) * np.float32(1e6)
    weight.CopyFrom(numpy_helper.from_array(large, weight.name))
    with pytest.raises(ModelError, match=r"trunk\.2\.weight holds .* ends at 65504\. Keep this"):
        to_half(model)
    weight.CopyFrom(numpy_helper.from_array(large * np.float32(1e-17), weight.name))
    made = constants(to_half(model).graph)["trunk.2.weight"]
    assert not numpy_helper.to_array(made).any(), "what is too small becomes zero"


def test_an_overflow_that_onnx_runtime_would_hide_is_refused() -> None:
    model = lively_graph()
    for name, factor in (("trunk.0.weight", 3e4), ("trunk.2.weight", 1e-4)):
        weight = next(t for t in model.graph.initializer if t.name == name)
        values = numpy_helper.to_array(weight) * np.float32(factor)
        weight.CopyFrom(numpy_helper.from_array(values, name))
    made = to_half(model)
    sign(made, "fp16")
    frames = textured((1, 64, 64))
    plain = Session(made.SerializeToString()).run([LOGIT], {INPUT: frames})
    assert np.isfinite(plain[0]).all()
    judge = Judge(made)
    patches = judge.evidence(frames)[1]
    assert patches is not None and not np.isfinite(patches).all()
    with pytest.raises(ModelError, match="fp16 differs from the float32 file"):
        compare.require(compare.compare_files(Judge(model), judge, []))


def test_the_float_twin_rounds_where_half_precision_stores() -> None:
    made = half("tiny_ladeda", "NPR")
    shown = rounding_in_float(made)
    assert TensorProto.FLOAT16 not in {t.data_type for t in constants(shown.graph).values()}
    names = ["/trunk/trunk.1/Relu_output_0", "/head/Conv_output_0"]
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = Session(shown.SerializeToString(), as_written=True)
    body, head = session.run(names, {INPUT: textured((1, 40, 40))})
    assert np.array_equal(body, body.astype(np.float16).astype(np.float32))
    assert not np.array_equal(head, head.astype(np.float16).astype(np.float32))
    assert {value.name for value in shown.graph.output} >= {LOGIT, PATCH_LOGITS}
