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


def quantise_before(reader: str) -> Mutation:
    def mutate(model: ModelProto) -> None:
        node = named(model, reader)
        put_before(model, node, *pair(model, node.input[0]))

    return mutate


def cast_before(reader: str, *kinds: int) -> Mutation:
    def mutate(model: ModelProto) -> None:
        node = named(model, reader)
        names = [node.input[0], *(f"cast.{number}" for number in range(len(kinds)))]
        casts = [cast(names[n], names[n + 1], kind) for n, kind in enumerate(kinds)]
        put_before(model, node, *casts)

    return mutate


def rename(name: str, new: str) -> Mutation:
    return lambda model: setattr(named(model, name), "name", new)


def as_if_of(precision: str) -> Mutation:
    def mutate(model: ModelProto) -> None:
        model.CopyFrom(sound("fp32"))
        sign(model, "fp16" if precision == "fp16" else "int8")

    return mutate


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


def two_inputs(model: ModelProto) -> None:
    del first(model, "DequantizeLinear").input[2]


def fill(index: int, values: np.ndarray) -> Mutation:
    def mutate(model: ModelProto) -> None:
        tensor = constants(model.graph)[first(model, "QuantizeLinear").input[index]]
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return mutate


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


HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
NO_LEVELS = "expected no quantisation of grey levels, found /q"


@pytest.mark.parametrize(
    ("precision", "mutate", "message"),
    [
        (
            "fp32",
            rename("/pixels/Conv", "/edges/Conv"),
            "name of /edges/Conv in the front",
        ),
        (
            "fp32",
            rename("/trunk/trunk.2/Conv", "/pixels/trunk.2/Conv"),
            "expected /pixels/trunk.2/Conv to read grey level",
        ),
        ("fp32", half_weight, "expected no half precision, found spare"),
        ("fp32", quantise_before("/head/Conv"), "expected no quantisation, found /q"),
        ("fp16", quantise_before("/head/Conv"), "expected no quantisation, found /q"),
        ("fp16", half_front, "/pixels/Conv of the front or tail gives float16"),
        ("fp16", float_body, "/trunk/trunk.3/Relu of the body gives float"),
        ("fp16", doubled_cast, "Cast /cast/again is there twice"),
        ("fp16", cast_before("/trunk/trunk.2/Conv", HALF), "Cast /cast/cast.0 changes no type"),
        ("fp16", cast_before("/head/Conv", HALF, FLOAT), "Cast /cast/cast.0 follows another"),
        ("fp16", as_if_of("fp16"), "expected a body in half precision, found none"),
        ("int8", half_weight, "expected no half precision, found spare"),
        ("int8", as_if_of("int8"), "expected a body in int8, found no QuantizeLinear"),
        ("int8", two_inputs, "expected 3 inputs of trunk.2.weight_DequantizeLinear, found 2"),
        ("int8", fill(1, np.full(16, -1, np.float32)), "expected scales above 0 of .*, found -1"),
        ("int8", fill(1, np.full(16, np.inf, np.float32)), "expected scales above 0 of .* inf"),
        ("int8", fill(2, np.full(16, 3, np.int8)), "expected a zero point of 0 of"),
        ("int8", int32_bias, "expected int8 before /bias, found int32"),
        ("int8", scales_of_an_activation, "expected one scale of the activation at .*, found 16"),
        ("int8", quantise_before("/trunk/trunk.0/Conv"), NO_LEVELS),
        ("int8", quantise_before("/pixels/Conv"), NO_LEVELS),
        ("int8", quantise_before("/head/Conv"), "no quantisation of the head .*, found /head/Conv"),
    ],
)
def test_a_rule_fires(precision: str, mutate: Mutation, message: str) -> None:
    broken = sound(precision)
    assert lint(broken) == []
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
