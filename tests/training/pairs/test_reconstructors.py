from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge.errors import ModelError, UsageError
from training.pairs.reconstructors import OnnxPicture, open_reconstructors


def write_onnx(path: Path, dtype: int, node: str, **attributes: Any) -> Path:
    inputs = [helper.make_tensor_value_info("x", dtype, ["N", "H", "W", 3])]
    outputs = [helper.make_tensor_value_info("y", dtype, None)]
    nodes = [helper.make_node(node, ["x"], ["y"], **attributes)]
    graph = helper.make_graph(nodes, "made", inputs, outputs)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_file_from_picture_to_picture(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "same.onnx", TensorProto.UINT8, "Identity")
    (found,) = open_reconstructors([path])
    picture = np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    assert np.array_equal(found(picture), picture)
    assert found.name == "same" and found.made_by.startswith("ONNX file same.onnx ")


def test_other_onnx_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"found tensor\(float\)"):
        OnnxPicture(write_onnx(tmp_path / "a.onnx", TensorProto.FLOAT, "Identity"))
    turned = write_onnx(tmp_path / "b.onnx", TensorProto.UINT8, "Transpose", perm=[0, 2, 1, 3])
    with pytest.raises(ModelError, match=r"expected a picture of shape \[16, 8, 3\]"):
        OnnxPicture(turned)(np.zeros((16, 8, 3), np.uint8))
    (tmp_path / "c.onnx").write_bytes(b"none")
    with pytest.raises(ModelError, match="ONNX Runtime can run"):
        OnnxPicture(tmp_path / "c.onnx")


def test_what_is_no_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no NAME"):
        open_reconstructors([tmp_path])
    (tmp_path / "a.txt").touch()
    with pytest.raises(UsageError, match="of no known kind"):
        open_reconstructors([tmp_path / "a.txt"])
