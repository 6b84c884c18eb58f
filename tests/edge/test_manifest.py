from __future__ import annotations

import json

import pytest

from edge.errors import ManifestError
from edge.manifest import PatchGrid, parse_manifest
from tests.fakes import make_manifest


def changed(**fields: object) -> str:
    return json.dumps(json.loads(make_manifest().to_json()) | fields)


def test_round_trip() -> None:
    manifest = make_manifest(region="center:256", parameters=1297)
    assert parse_manifest(manifest.to_json(), "m.onnx") == manifest


def test_a_newer_schema_says_what_to_do() -> None:
    with pytest.raises(ManifestError, match=r"schema 7 is newer than 1.*Update patchwatch"):
        parse_manifest(changed(schema_version=7, later="field"), "m.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "m.onnx"),
        (changed(preprocessing="npr"), "preprocessing"),
        (changed(colour="red"), "colour"),
        (changed(region="whole"), "region"),
        (changed(calibration={"temperature": 0}), "calibration.temperature"),
        (changed(calibration={"threshold": float("nan")}), "calibration.threshold"),
    ],
)
def test_a_wrong_field_is_named(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(text, "m.onnx")


def test_a_model_without_patches_must_say_so() -> None:
    text = json.loads(make_manifest(patches=None).to_json())
    assert parse_manifest(json.dumps(text), "m.onnx").patches is None
    del text["patches"]
    with pytest.raises(ManifestError, match="patches"):
        parse_manifest(json.dumps(text), "m.onnx")


def test_smallest_input_counts_the_border_that_padding_adds() -> None:
    assert PatchGrid(receptive_field=7, stride=2, offset=-1).smallest_input() == 5
