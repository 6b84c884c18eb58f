"""Each rule of a precision fires on a file that breaks it alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.compare import textured
from export.lint import lint
from export.precision.half import to_half
from export.precision.int8 import to_int8
from export.precision.parts import constants
from export.precision.variants import sign
from tests.export.models import lively_graph

Mutation = Callable[[ModelProto], None]


@functools.cache
def _sound(precision: str) -> ModelProto:
    model = lively_graph("tiny_ladeda", "x_grad")
    if precision == "fp16":
        model = to_half(model)
        sign(model, "fp16")
    elif precision == "int8":
        model = to_int8(model, [textured((1, 48, 48))])
        sign(model, "int8")
    return model


def sound(precision: str) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(_sound(precision))
    return copy


def named(model: ModelProto, name: str) -> NodeProto:
    found: list[NodeProto] = [node for node in model.graph.node if node.name == name]
    (node,) = found
    return node


def first(model: ModelProto, kind: str) -> NodeProto:
    found: NodeProto = next(node for node in model.graph.node if node.op_type == kind)
    return found


def put_before(model: ModelProto, reader: NodeProto, *nodes: NodeProto) -> None:
    """Insert nodes, the last of which gives what the reader reads first."""
    place = [node.name for node in model.graph.node].index(reader.name)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(place + offset, node)
    named(model, reader.name).input[0] = nodes[-1].output[0]


def cast(source: str, result: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], f"/cast/{result}", to=kind)


def pair(model: ModelProto, source: str) -> list[NodeProto]:
    values = {"s": np.float32(1), "z": np.int8(0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name) for name, value in values.items()
    )
    return [
        helper.make_node("QuantizeLinear", [source, "s", "z"], ["q"], "/q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"], "/dq"),
    ]


def quantised_levels(model: ModelProto) -> None:
    stem = named(model, "/trunk/trunk.0/Conv")
    put_before(model, stem, *pair(model, stem.input[0]))


def quantised_inside_the_front(model: ModelProto) -> None:
    conv = named(model, "/pixels/Conv")
    put_before(model, conv, *pair(model, conv.input[0]))


def quantised_head(model: ModelProto) -> None:
    head = named(model, "/head/Conv")
    put_before(model, head, *pair(model, head.input[0]))


def another_name_in_the_front(model: ModelProto) -> None:
    named(model, "/pixels/Conv").name = "/edges/Conv"


def a_name_of_the_front_elsewhere(model: ModelProto) -> None:
    named(model, "/trunk/trunk.2/Conv").name = "/pixels/trunk.2/Conv"


def half_weight(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float16), "spare"))


def half_front(model: ModelProto) -> None:
    """The gradient in half precision: its Cast comes one node too early."""
    conv, stem = named(model, "/pixels/Conv"), named(model, "/trunk/trunk.0/Conv")
    kernel = constants(model.graph)[conv.input[1]]
    values = numpy_helper.to_array(kernel).astype(np.float16)
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    early = named(model, "/half/Cast_0")
    model.graph.node.remove(early)
    stem.input[0] = conv.output[0]
    put_before(model, conv, cast(conv.input[0], "early", TensorProto.FLOAT16))


def float_body(model: ModelProto) -> None:
    relu = named(model, "/trunk/trunk.3/Relu")
    inside = cast(relu.input[0], "wide", TensorProto.FLOAT)
    output = relu.output[0]
    put_before(model, relu, inside)
    relu = named(model, "/trunk/trunk.3/Relu")
    relu.output[0] = "wide.relu"
    after = named(model, "/trunk/trunk.4/Conv")
    put_before(model, after, cast("wide.relu", output, TensorProto.FLOAT16))


def doubled_cast(model: ModelProto) -> None:
    early = named(model, "/half/Cast_0")
    model.graph.node.append(cast(early.input[0], "again", TensorProto.FLOAT16))


def idle_cast(model: ModelProto) -> None:
    conv = named(model, "/trunk/trunk.2/Conv")
    put_before(model, conv, cast(conv.input[0], "same", TensorProto.FLOAT16))


def cast_there_and_back(model: ModelProto) -> None:
    head = named(model, "/head/Conv")
    narrow = cast(head.input[0], "narrow", TensorProto.FLOAT16)
    put_before(model, head, narrow, cast("narrow", "back", TensorProto.FLOAT))


def no_half(model: ModelProto) -> None:
    model.CopyFrom(sound("fp32"))
    sign(model, "fp16")


def no_quantisation(model: ModelProto) -> None:
    model.CopyFrom(sound("fp32"))
    sign(model, "int8")


def two_inputs(model: ModelProto) -> None:
    del first(model, "DequantizeLinear").input[2]


def _fill(model: ModelProto, index: int, values: np.ndarray) -> None:
    node = first(model, "QuantizeLinear")
    tensor = constants(model.graph)[node.input[index]]
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def negative_scale(model: ModelProto) -> None:
    _fill(model, 1, np.full(16, -1, np.float32))


def endless_scale(model: ModelProto) -> None:
    _fill(model, 1, np.full(16, np.inf, np.float32))


def shifted_zero_point(model: ModelProto) -> None:
    _fill(model, 2, np.full(16, 3, np.int8))


def int32_bias(model: ModelProto) -> None:
    conv = named(model, "/trunk/trunk.2/Conv")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.zeros(16, np.int32), "bias32"),
            numpy_helper.from_array(np.array(1, np.float32), "bias32.scale"),
            numpy_helper.from_array(np.array(0, np.int32), "bias32.zero"),
        ]
    )
    inputs = ["bias32", "bias32.scale", "bias32.zero"]
    bias = helper.make_node("DequantizeLinear", inputs, ["bias.float"], "/bias")
    place = [node.name for node in model.graph.node].index(conv.name)
    model.graph.node.insert(place, bias)
    named(model, conv.name).input[2] = "bias.float"


def scales_of_an_activation(model: ModelProto) -> None:
    conv = named(model, "/trunk/trunk.2/Conv")
    made_by = {name: node for node in model.graph.node for name in node.output}
    after = made_by[conv.input[0]]
    before = made_by[after.input[0]]
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.ones(16, np.float32), "many"),
            numpy_helper.from_array(np.zeros(16, np.int8), "zeros"),
        ]
    )
    for node in (before, after):
        node.input[1], node.input[2] = "many", "zeros"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_we_make_is_clean(precision: str) -> None:
    assert lint(sound(precision)) == []


@pytest.mark.parametrize(
    ("precision", "mutate", "message"),
    [
        ("fp32", another_name_in_the_front, "name of /edges/Conv in the front to begin with /pixe"),
        ("fp32", a_name_of_the_front_elsewhere, "expected /pixels/trunk.2/Conv to read grey level"),
        ("fp32", half_weight, "expected no half precision, found spare"),
        ("fp32", quantised_head, "expected no quantisation, found /q"),
        ("fp16", quantised_head, "expected no quantisation, found /q"),
        ("fp16", half_front, "/pixels/Conv of the front or tail gives float16"),
        ("fp16", float_body, "/trunk/trunk.3/Relu of the body gives float"),
        ("fp16", doubled_cast, "Cast /cast/again is there twice"),
        ("fp16", idle_cast, "Cast /cast/same changes no type"),
        ("fp16", cast_there_and_back, "Cast /cast/narrow follows another"),
        ("fp16", no_half, "expected a body in half precision, found none"),
        ("int8", half_weight, "expected no half precision, found spare"),
        ("int8", no_quantisation, "expected a body in int8, found no QuantizeLinear"),
        ("int8", two_inputs, "expected 3 inputs of trunk.2.weight_DequantizeLinear, found 2"),
        ("int8", negative_scale, "expected scales above 0 of .*, found -1"),
        ("int8", endless_scale, "expected scales above 0 of .*, found inf"),
        ("int8", shifted_zero_point, "expected a zero point of 0 of"),
        ("int8", int32_bias, "expected int8 before /bias, found int32"),
        ("int8", scales_of_an_activation, "expected one scale of the activation at .*, found 16"),
        ("int8", quantised_levels, "expected no quantisation of grey levels, found /q"),
        ("int8", quantised_inside_the_front, "expected no quantisation of grey levels, found /q"),
        ("int8", quantised_head, "expected no quantisation of the head .*, found /head/Conv"),
    ],
)
def test_a_rule_fires(precision: str, mutate: Mutation, message: str) -> None:
    broken = sound(precision)
    mutate(broken)
    assert any(re.search(message, fault) for fault in lint(broken)), lint(broken)


def test_nodes_without_names_of_their_own() -> None:
    model = sound("fp32")
    named(model, "/head/Conv").name = ""
    named(model, "/pixels/Sub").name = "/pixels/Conv"
    assert lint(model) == [
        "expected a name of its own for each node, found 2 called '/pixels/Conv'",
        "expected a name of its own for each node, found 1 called ''",
    ]
