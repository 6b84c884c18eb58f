from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from edge.backends import open_backend
from edge.errors import ContractError, ManifestError, ModelError
from tests.fakes import make_manifest
from tests.onnx_files import write_model


def test_scores_a_batch_in_order(tmp_path: Path) -> None:
    frames = np.stack([np.full((6, 9, 3), value, np.uint8) for value in (0, 128, 255)])
    with open_backend(write_model(tmp_path / "m.onnx")) as backend:
        backend.warm_up(6, 9)
        evidence = backend.infer(frames)
    assert [item.logit for item in evidence] == [-128.0, 0.0, 127.0]
    maps = [item.patch_logits for item in evidence]
    assert all(patch is not None and patch.shape == (6, 9) for patch in maps)


def test_reads_the_manifest(tmp_path: Path) -> None:
    manifest = make_manifest(name="from the file")
    with open_backend(write_model(tmp_path / "m.onnx", manifest)) as backend:
        assert backend.manifest == manifest


def test_a_model_without_patches_gives_no_map(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", make_manifest(patches=None), outputs=("logit",))
    with open_backend(path) as backend:
        (evidence,) = backend.infer(np.zeros((1, 4, 4, 3), np.uint8))
    assert evidence.patch_logits is None


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        open_backend(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"not onnx at all", b"\x08\x08" + bytes(200)])
def test_a_corrupt_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"(?s)m\.onnx.*(Copy or export it again|manifest)"):
        open_backend(path)


def test_a_truncated_file_is_one_sentence(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:120])
    with pytest.raises(ModelError, match=r"m\.onnx"):
        open_backend(path)


def test_another_contract_says_what_was_expected_and_found(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx", input_name="image")
    with pytest.raises(ContractError, match=r"image: tensor\(uint8\).*Expected the input frames"):
        open_backend(path)
    path = write_model(tmp_path / "b.onnx", input_type=TensorProto.FLOAT)
    with pytest.raises(ContractError, match=r"tensor\(float\)"):
        open_backend(path)
    path = write_model(tmp_path / "c.onnx", outputs=("logit",))
    with pytest.raises(ContractError, match="patch_logits"):
        open_backend(path)


def test_a_file_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="carries no patchwatch manifest"):
        open_backend(write_model(tmp_path / "m.onnx", ""))


def test_a_newer_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="schema 99 is newer"):
        open_backend(write_model(tmp_path / "m.onnx", '{"schema_version": 99}'))


def test_a_fixed_size_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", fixed_hw=(8, 12))
    with open_backend(path) as backend:
        assert len(backend.infer(np.zeros((2, 8, 12, 3), np.uint8))) == 2
        with pytest.raises(ModelError, match=r"8×12 pixels, got 8×13.*region"):
            backend.infer(np.zeros((1, 8, 13, 3), np.uint8))
