"""Graphs made on the spot and single operators, whose cost is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.flops import Array, Count, Kind, Operator, count_graph, skeleton
from edge.errors import ModelError


def graph(nodes: list[NodeProto], shape: list[int | str], **weights: tuple[int, ...]) -> ModelProto:
    return helper.make_model(
        helper.make_graph(
            nodes,
            "made",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(np.ones(dims, np.float32), name)
                for name, dims in weights.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def test_a_convolution_with_stride_one_sided_padding_and_groups() -> None:
    conv = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], name="stem", group=2, strides=[2, 2], pads=[0, 0, 1, 1]
    )
    model = graph([conv], ["n", 4, "h", "w_px"], w=(8, 2, 3, 3), b=(8,))
    count = count_graph(model, {"x": (1, 4, 10, 12)})
    # ⌊(10 + 1 − 3) / 2⌋ + 1 = 5 rows, ⌊(12 + 1 − 3) / 2⌋ + 1 = 6 columns
    assert count.macs == 8 * 30 * 18
    assert count.parameters == 8 * 18 + 8
    assert count.traffic_bytes == 4 * (4 * 120 + 8 * 18 + 8 + 8 * 30)
    assert (count.operators[0].layer, count.operators[0].name) == ("stem", "Conv")


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_knows_which_side_is_summed_over(transposed: int) -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transA=transposed, transB=1)
    shape = (10, 5) if transposed else (5, 10)
    count = count_graph(graph([node], [*shape], w=(6, 10), b=(6,)), {"x": shape})
    assert count.macs == 5 * 10 * 6
    assert count.parameters == 66


def test_matmul_and_what_follows_it() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Transpose", ["m"], ["t"], perm=[1, 0]),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.FLOAT16),
    ]
    model = graph(nodes, [3, 7], w=(7, 2))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    count = count_graph(model, {"x": (3, 7)})
    assert count.macs == 3 * 7 * 2
    assert [op.traffic_bytes for op in count.operators] == [4 * (21 + 14 + 6), 48, 24 + 12]


def test_a_weight_behind_an_identity_is_counted() -> None:
    nodes = [
        helper.make_node("Identity", ["b"], ["same"]),
        helper.make_node("Conv", ["x", "w", "b"], ["m"]),
        helper.make_node("Conv", ["m", "w", "same"], ["y"]),
    ]
    model = graph(nodes, [1, 4, 6, 6], w=(4, 4, 1, 1), b=(4,))
    assert count_graph(model, {"x": (1, 4, 6, 6)}).parameters == 2 * (16 + 4)


def test_a_skeleton_counts_as_the_whole_graph_does() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    model = graph([conv], [1, 16, "h", "w_px"], w=(32, 16, 3, 3))
    bare = skeleton(model)
    assert bare.ByteSize() < 1000 < model.ByteSize()
    shapes = {"x": (1, 16, 20, 30)}
    assert count_graph(bare, shapes) == count_graph(model, shapes)
    assert len(model.graph.initializer) == 1


def test_what_it_does_not_know_is_refused() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"])
    model = graph([node], [1, 4, 6, 6], w=(4, 4, 2, 2))
    with pytest.raises(ModelError, match="ConvTranspose"):
        count_graph(model, {"x": (1, 4, 6, 6)})
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], ["n", "k"], w=(7, 2))
    with pytest.raises(ModelError, match="cannot infer"):
        count_graph(model, {"x": (3, 8)})
    nodes = [
        helper.make_node("Cast", ["x"], ["wanted"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["wanted"], ["y"]),
    ]
    with pytest.raises(ModelError, match="no shape for 'y'"):
        count_graph(graph(nodes, [2]), {"x": (2,)})


def floats(*shape: int) -> Array:
    return Array(shape, 4)


def operator(kind: Kind, inputs: tuple[Array, ...], output: Array) -> Operator:
    return Operator("op", "layer", kind, inputs, (output,))


def test_other_operators_move_data_and_compute_nothing() -> None:
    cast = operator("elementwise", (Array((10, 10), 1),), floats(10, 10))
    assert (cast.macs, cast.traffic_bytes) == (0, 100 + 400)
    crop = operator("part", (floats(100, 100),), floats(10, 10))
    assert (crop.macs, crop.traffic_bytes) == (0, 2 * 400)
    renamed = operator("free", (floats(100, 100),), floats(10_000))
    assert (renamed.macs, renamed.traffic_bytes) == (0, 0)


def test_a_count_adds_up() -> None:
    product = operator("matmul", (floats(1, 8), floats(8, 4)), floats(1, 4))
    activation = operator("elementwise", (floats(1, 4),), floats(1, 4))
    count = Count((product, activation), parameters=32)
    assert (count.macs, count.flops) == (32, 64)
    assert count.traffic_bytes == 4 * (8 + 32 + 4) + 4 * (4 + 4)
    assert count.intensity == 64 / 208
    assert Count((), 0).intensity == 0
