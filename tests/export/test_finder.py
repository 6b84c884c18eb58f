from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.faces import FaceFinder, finder
from export.finder import convert


def yunet(path: Path, stride: int, row: int, column: int) -> Path:
    """A stand-in with YuNet's outputs for an input of 64 × 64, whatever it shows: in one cell a
    face, half a cell below the cell's corner, four cells wide and two high, and its points."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
    ]
    outputs = []
    for size in (8, 16, 32):
        values = {kind: np.zeros((1, (64 // size) ** 2, n), np.float32) for kind, n in WIDTHS}
        if size == stride:
            cell = row * (64 // size) + column
            values["cls"][0, cell], values["obj"][0, cell] = 1.0, 0.81
            values["bbox"][0, cell] = (0.0, 0.5, np.log(4), np.log(2))
            values["kps"][0, cell] = np.arange(10) / 10
        for kind, value in values.items():
            name = f"{kind}_{size}"
            tensor = numpy_helper.from_array(value, f"value_{name}")
            nodes.append(helper.make_node("Constant", [], [f"c_{name}"], value=tensor))
            nodes.append(helper.make_node("Add", [f"c_{name}", "zero"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    shape = [1, 3, 64, 64]
    frames = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "yunet", frames, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(path))
    return path


WIDTHS = (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))


@pytest.mark.parametrize(("stride", "row", "column"), [(8, 2, 3), (16, 3, 0), (32, 1, 1)])
def test_every_cell_of_the_network_becomes_the_face_that_it_stands_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int, row: int, column: int
) -> None:
    convert(yunet(tmp_path / "given.onnx", stride, row, column), tmp_path / "made.onnx")
    monkeypatch.setattr(finder, "MODEL", tmp_path / "made.onnx")
    (face,) = FaceFinder().find(np.zeros((50, 60, 3), np.uint8))
    x, y = column * stride, row * stride
    box = np.array((x - 2 * stride, y - stride / 2, x + 2 * stride, y + 1.5 * stride))
    np.testing.assert_allclose(face.xyxy, np.clip(box, 0, (60, 50, 60, 50)), atol=0.51)
    np.testing.assert_allclose(
        face.points, np.array((x, y)) + np.arange(10).reshape(5, 2) / 10 * stride, rtol=1e-5
    )
    assert face.score == pytest.approx(0.9)
