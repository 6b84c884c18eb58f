"""Each rule of the lint fires on a graph that breaks it alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge.errors import ContractError
from edge.manifest import METADATA_KEY
from export.lint import check, lint
from export.model_file import manifest_of
from tests.export.models import lively, lively_graph, make_card
from training.models import PREPROCESSINGS

SECOND_INPUT = helper.make_tensor_value_info("size", TensorProto.FLOAT, [1])
SECOND_READER = helper.make_node("Cast", ["frames"], ["again"], to=TensorProto.FLOAT)
SHAPE_OF_INPUT = helper.make_node("Shape", ["frames"], ["size"])


@pytest.fixture(scope="module")
def sound() -> ModelProto:
    return lively_graph("tiny_ladeda", "left_diag")


@pytest.mark.parametrize(
    ("architecture", "preprocessing"),
    [
        *(("tiny_ladeda", name) for name in PREPROCESSINGS),
        ("ladeda5", "NPR"),
        ("lite0_magnitudes_s16", "raw"),
    ],
)
def test_what_we_export_is_clean(architecture: str, preprocessing: str) -> None:
    assert lint(lively_graph(architecture, preprocessing)) == []


def node(model: ModelProto, kind: str) -> NodeProto:
    found: NodeProto = next(node for node in model.graph.node if node.op_type == kind)
    return found


def dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def retype(value: Any, kind: int) -> None:
    value.type.tensor_type.elem_type = kind


def weights_elsewhere(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def renamed_input(model: ModelProto) -> None:
    model.graph.input[0].name = node(model, "Cast").input[0] = "images"


def transpose_before_cast(model: ModelProto) -> None:
    cast, transpose = node(model, "Cast"), node(model, "Transpose")
    cast.op_type, transpose.op_type = "Transpose", "Cast"
    attributes = [list(n.attribute) for n in (cast, transpose)]
    for n, other in ((cast, attributes[1]), (transpose, attributes[0])):
        del n.attribute[:]
        n.attribute.extend(other)


def constant_before_cast(model: ModelProto) -> None:
    nodes = list(model.graph.node)
    nodes.insert(0, node(model, "Constant"))
    kept = [n for i, n in enumerate(nodes) if i == 0 or n.op_type != "Constant"]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def no_map(model: ModelProto) -> None:
    del model.graph.output[1]


def renamed_output(model: ModelProto) -> None:
    model.graph.output[0].name = node(model, "ReduceMean").output[0] = "score"


def axes_as_input(model: ModelProto) -> None:
    reduce = node(model, "ReduceMean")
    axes = next(entry for entry in reduce.attribute if entry.name == "axes")
    model.graph.initializer.append(numpy_helper.from_array(np.array(list(axes.ints)), "axes"))
    reduce.attribute.remove(axes)
    reduce.input.append("axes")


def no_axes(model: ModelProto) -> None:
    reduce = node(model, "ReduceMean")
    reduce.attribute.remove(next(entry for entry in reduce.attribute if entry.name == "axes"))


def squeeze_by_a_computed_axis(model: ModelProto) -> None:
    squeeze = node(model, "Squeeze")
    model.graph.node.insert(1, helper.make_node("Cast", [squeeze.input[1]], ["axis"], to=7))
    squeeze.input[1] = "axis"


def back_to_uint8(model: ModelProto) -> None:
    model.graph.node.append(
        helper.make_node("Cast", [node(model, "Relu").output[0]], ["bytes"], to=TensorProto.UINT8)
    )


def bytes_among_the_weights(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.uint8), "zero_point"))


def manifest_without_map(model: ModelProto) -> None:
    text = model.metadata_props[0].value.replace('"patches":{', '"patches":null,"_":{')
    helper.set_model_props(model, {METADATA_KEY: text})


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (
            lambda m: setattr(m.opset_import[0], "version", 18),
            "no other operator set, found ai.onnx 18",
        ),
        (
            lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1)),
            "found ai.onnx 17, com.microsoft 1",
        ),
        (lambda m: setattr(m, "ir_version", 9), "expected IR version 8 or less, found 9"),
        (weights_elsewhere, "in another file"),
        (
            lambda m: retype(m.graph.input[0], TensorProto.FLOAT),
            "expected one input, frames of type uint8 and rank 4, found frames of type f",
        ),
        (renamed_input, "found images of type uint8"),
        (
            lambda m: m.graph.input.append(SECOND_INPUT),
            "found frames of type uint8 and rank 4, size of type float and rank 1",
        ),
        (
            lambda m: setattr(dims(m.graph.input[0])[3], "dim_value", 4),
            "expected 3 colours",
        ),
        (transpose_before_cast, "expected the first node to be a Cast .* found Transpose"),
        (lambda m: m.graph.node.append(SECOND_READER), "found Cast, Cast"),
        (constant_before_cast, "expected the first node to be a Cast"),
        (lambda m: m.graph.node.append(SHAPE_OF_INPUT), "found Cast, Shape"),
        (no_map, "expected outputs logit .*, patch_logits .* rank 3, found logit .* rank 1\\.$"),
        (renamed_output, "found score of type float"),
        (lambda m: retype(m.graph.output[0], TensorProto.DOUBLE), "found logit of type double"),
        (
            lambda m: dims(m.graph.output[1]).add(),
            "patch_logits of type float and rank 4",
        ),
        (axes_as_input, "expected the axes of .* as an attribute"),
        (no_axes, "expected the axes of .* as an attribute"),
        (
            lambda m: node(m, "Squeeze").input.pop(),
            "expected the axes of /Squeeze as its second input",
        ),
        (squeeze_by_a_computed_axis, "expected input 1 of /Squeeze to be a constant"),
        (
            lambda m: setattr(node(m, "Relu"), "op_type", "Softplus"),
            "operator Softplus of .* is not read by every TensorRT",
        ),
        (
            lambda m: setattr(node(m, "Relu"), "domain", "com.microsoft"),
            "operator Relu of .* is not read",
        ),
        (lambda m: setattr(node(m, "Relu"), "op_type", "If"), "operator If of .* is not read"),
        (back_to_uint8, "expected no uint8 past the first Cast, found bytes"),
        (bytes_among_the_weights, "expected no uint8 past the first Cast, found zero_point"),
        (lambda m: operator.setitem(node(m, "Relu").input, 0, "nowhere"), "it is no sound graph"),
        (
            lambda m: m.ClearField("metadata_props"),
            "one manifest under 'patchwatch', found 0",
        ),
        (lambda m: helper.set_model_props(m, {METADATA_KEY: "{"}), "its manifest is not JSON"),
        (manifest_without_map, "manifest field _ is not known here"),
    ],
)
def test_a_rule_fires(
    sound: ModelProto, mutate: Callable[[ModelProto], object], message: str
) -> None:
    broken = ModelProto()
    broken.CopyFrom(sound)
    mutate(broken)
    with pytest.raises(ContractError, match=message):
        check(broken, "it")


def test_a_model_without_a_map_says_so_in_its_manifest(sound: ModelProto) -> None:
    without = ModelProto()
    without.CopyFrom(sound)
    model = lively("tiny_ladeda", "left_diag")
    manifest = manifest_of(model, make_card(model)).model_copy(update={"patches": None})
    helper.set_model_props(without, {METADATA_KEY: manifest.to_json()})
    with pytest.raises(ContractError, match="expected outputs logit of type float and rank 1, fou"):
        check(without, "it")
    no_map(without)
    assert lint(without) == []
