from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.errors import MissingDependency, ModelError, UsageError
from edge.faces import Face, FaceFinder, Faces, FaceSettings, open_finder
from edge.faces.finders import largest_first, reduced
from edge.types import Box
from tests.edge.faces.pictures import FACE_XYXY, crowd, photograph, scene


def overlap(one: Box, other: Box) -> float:
    from edge.faces.boxes import as_rows, overlaps

    return float(overlaps(as_rows([one]), as_rows([other]))[0, 0])


def test_dlib_finds_the_face_where_it_is(finder: FaceFinder) -> None:
    (face,) = finder.find(photograph())
    assert overlap(face.xyxy, FACE_XYXY) > 0.95
    assert face.score > 0.5
    assert finder.key.startswith("dlib-hog-") and finder.key.endswith("-640")


def test_boxes_are_in_pixels_of_a_frame_that_was_reduced(finder: FaceFinder) -> None:
    large = cv2.resize(photograph(), (1600, 1600), interpolation=cv2.INTER_LINEAR)
    (face,) = finder.find(large)  # type: ignore[arg-type]  # it is uint8
    scale = 1600 / 512
    assert overlap(face.xyxy, tuple(round(edge * scale) for edge in FACE_XYXY)) > 0.7  # type: ignore[arg-type]  # four


@pytest.mark.parametrize("x", [-80, -40, 480])
def test_a_face_at_the_border_gives_a_box_in_the_frame(finder: FaceFinder, x: int) -> None:
    (face,) = finder.find(scene([(x, 60)]))
    left, top, right, bottom = face.xyxy
    assert 0 <= left < right <= 640 and 0 <= top < bottom <= 360


def test_fifty_faces_need_a_larger_picture_and_come_the_largest_first() -> None:
    with open_finder(longest_side=1280) as finder:
        faces = finder.find(crowd())
    assert len(faces) == 50
    areas = [(f.xyxy[2] - f.xyxy[0]) * (f.xyxy[3] - f.xyxy[1]) for f in faces]
    assert areas == sorted(areas, reverse=True)
    with open_finder(longest_side=640) as finder:
        assert finder.find(crowd()) == []


@pytest.mark.parametrize("hw", [(1, 1), (1, 700), (47, 31), (360, 640)])
def test_there_may_be_no_face(finder: FaceFinder, hw: tuple[int, int]) -> None:
    assert finder.find(np.full((*hw, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_on_its_side_is_not_found_and_nothing_breaks(finder: FaceFinder, turns: int) -> None:
    assert finder.find(np.rot90(photograph(), turns)) == []


def test_what_is_found_does_not_depend_on_what_was_looked_at_before(finder: FaceFinder) -> None:
    first = finder.find(photograph())
    finder.find(scene([(10, 60), (430, 60)]))
    assert finder.find(photograph()) == first


def test_without_dlib_the_command_that_installs_it_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependency, match=r"find faces.*Run: pip install dlib-bin$"):
        open_finder()


def test_nothing_is_ever_enlarged() -> None:
    small, scale = reduced(photograph(), 640)
    assert small is photograph() and scale == 1
    smaller, scale = reduced(photograph()[:256], 128)
    assert smaller.shape == (64, 128, 3) and scale == 0.25
    assert reduced(photograph()[:1], 128)[0].shape == (1, 128, 3)


def test_equal_faces_have_a_fixed_order() -> None:
    faces = [Face((9, 0, 19, 10), 1.0), Face((0, 0, 10, 10), 1.0), Face((5, 0, 15, 10), 2.0)]
    assert [face.xyxy[0] for face in largest_first(faces)] == [5, 0, 9]


def yunet(path: Path, at: tuple[int, int]) -> Path:
    """A stand-in with YuNet's outputs, sure of one face, a square of 32 at a column and a row of
    eight pixels, wherever it looks; for an input of 64 × 64."""
    shapes = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    nodes, outputs = [], []
    for stride in (8, 16, 32):
        cells = (64 // stride) ** 2
        for kind, width in shapes.items():
            value = np.zeros((1, cells, width), np.float32)
            if stride == 8 and width == 1:
                value[0, at[1] * 8 + at[0]] = 1.0
            if kind == "bbox":
                value[..., 2:] = np.log(32 / stride)
            name = f"{kind}_{stride}"
            tensor = onnx.numpy_helper.from_array(value, f"value_{name}")
            nodes.append(helper.make_node("Constant", [], [f"c_{name}"], value=tensor))
            nodes.append(helper.make_node("Add", [f"c_{name}", "zero"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    mean = helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0)
    nodes = [mean, helper.make_node("Sub", ["mean", "mean"], ["zero"]), *nodes]
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        outputs,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(path))
    return path


def test_a_yunet_is_run_by_opencv_and_its_boxes_are_the_frames(tmp_path: Path) -> None:
    path = yunet(tmp_path / "face.onnx", (3, 2))
    with open_finder(path, longest_side=80) as finder:
        # A frame of 64 × 64 is not reduced: the square's centre is the cell's corner.
        (face,) = finder.find(np.zeros((64, 64, 3), np.uint8))
        assert face == Face((8, 0, 40, 32), 1.0)
        assert finder.key.startswith("yunet-") and finder.key.endswith("-80-0.9")
    other = yunet(tmp_path / "other.onnx", (4, 2))
    with open_finder(other, longest_side=80) as second:
        assert second.key != finder.key


def test_what_is_no_yunet_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: expected a YuNet model: No such file"):
        open_finder(tmp_path / "none.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"wrong\.onnx: expected a YuNet model, and OpenCV"):
        open_finder(wrong)
    with pytest.raises(UsageError, match=r"face\.dat: expected a YuNet model, whose name ends"):
        open_finder(tmp_path / "face.dat")
    with pytest.raises(UsageError, match="at least 80 pixels to find faces in, found 20"):
        open_finder(longest_side=20)


def test_the_finder_is_opened_once_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Faces(FaceSettings(model=Path("absent.onnx"))) as faces:
        pass  # never needed, never missed
    with pytest.raises(ModelError):
        _ = faces.finder
    with Faces() as faces:
        assert faces.finder is faces.finder
    given = faces.finder
    assert Faces(finder=given).finder is given


def test_the_configuration_gives_the_usual_settings() -> None:
    text = {"every": 2, "longest_side": 1280, "model": "y.onnx"}
    assert FaceSettings.model_validate(text) == FaceSettings(
        model=Path("y.onnx"), longest_side=1280, every=2
    )
