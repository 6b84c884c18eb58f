"""The graph as torch's exporter leaves it: dynamic or static, old enough, in one piece."""

from __future__ import annotations

from onnx import ModelProto

from edge.manifest import METADATA_KEY, parse_manifest
from export.fold import folded_module
from export.graph import embed, to_onnx
from export.model_file import manifest_of
from tests.export.models import lively, make_card


def dimensions(model: ModelProto) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


def test_any_shape_is_taken_unless_one_is_asked_for() -> None:
    module = folded_module(lively("tiny_ladeda", "NPR"))
    assert dimensions(to_onnx(module)) == {
        "frames": ["batch", "height", "width", 3],
        "logit": ["batch"],
        "patch_logits": ["batch", "patch_rows", "patch_columns"],
    }
    assert dimensions(to_onnx(module, (2, 31, 48))) == {
        "frames": [2, 31, 48, 3],
        "logit": [2],
        "patch_logits": [2, 14, 22],
    }


def test_the_manifest_travels_inside() -> None:
    model = lively("tiny_ladeda", "left_diag")
    proto = to_onnx(folded_module(model))
    embed(proto, manifest_of(model, make_card(model, region="center:256")))
    (entry,) = proto.metadata_props
    assert entry.key == METADATA_KEY
    manifest = parse_manifest(entry.value, "it")
    assert (manifest.name, manifest.parameters, manifest.region) == ("lively", 1297, "center:256")
    assert manifest.patches == model.grid
    assert (model.grid.receptive_field, model.grid.stride, model.grid.offset) == (7, 2, -1)
