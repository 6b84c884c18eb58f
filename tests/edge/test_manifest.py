from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ManifestError, ModelError
from edge.manifest import METADATA_KEY, PatchGrid, parse_manifest, read_manifest
from edge.weights import FOLDER
from tests.fakes import make_manifest
from tests.onnx_files import write_model
from tests.programs import in_python


def changed(**fields: object) -> str:
    return json.dumps(json.loads(make_manifest().to_json()) | fields)


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


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.onnx")), ids=lambda path: path.name)
def test_a_file_is_read_as_onnx_reads_it(path: Path) -> None:
    props = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert read_manifest(path) == parse_manifest(props[METADATA_KEY], "onnx")


def test_neither_onnx_nor_a_runtime_is_started(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    script = f"""
        import sys
        sys.modules["onnx"] = sys.modules["onnxruntime"] = sys.modules["google"] = None
        from pathlib import Path
        from edge.manifest import read_manifest
        print(read_manifest(Path({str(path)!r})).name)
    """
    assert in_python(script).stdout.strip() == make_manifest().name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such model file\. 'patchwatch models' lists"):
        read_manifest(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"not onnx at all", b"\x08\x08" + bytes(200), b"\xff" * 20])
def test_a_corrupt_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX model.* Copy or export it again"):
        read_manifest(path)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(ModelError, match=r"m\.onnx: the file is empty .* Copy or export it again"):
        read_manifest(tmp_path / "m.onnx")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_model_without_manifest_or_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        read_manifest(path)


def test_a_file_without_manifest_or_with_a_newer_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="carries no patchwatch manifest"):
        read_manifest(write_model(tmp_path / "m.onnx", ""))
    newer = changed(schema_version=7, later="field")
    with pytest.raises(ManifestError, match=r"schema 7 is newer than 1.*Update patchwatch"):
        read_manifest(write_model(tmp_path / "m.onnx", newer))
