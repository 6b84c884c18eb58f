from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.faces.finder import Face, FaceFinder
from edge.types import Box, Image
from patchwatch import main
from training.data.portraits import LEAST_SIDE, OF_A_PICTURE, portraits

skimage_data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def astronaut() -> Image:
    """A photograph of a person, 512×512, with room around her; uint8 BGR."""
    picture = skimage_data.astronaut()[:, :, ::-1]
    return np.ascontiguousarray(np.pad(picture, ((0, 0), (200, 200), (0, 0)), mode="edge"))


def shrunk(image: Image, by: float) -> Image:
    small = cv2.resize(image, None, fx=1 / by, fy=1 / by, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def saved(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(path)


def test_a_portrait_holds_the_face_and_what_is_around_it(astronaut: Image) -> None:
    with FaceFinder(threads=1) as finder:
        (face,) = finder.find(astronaut)
        (found,) = portraits(astronaut, finder, 60)
        assert found == next(portraits(astronaut, finder, 60))  # the same every time
        assert list(portraits(astronaut, finder, 300)) == []
        top, bottom, left, right = found
        assert list(portraits(astronaut[top:bottom, left:right], finder, 60)) == []  # one already
    x0, y0, x1, y1 = face.xyxy
    assert top < y0 and y1 < bottom and left < x0 and x1 < right
    assert 1.5 < (right - left) / max(x1 - x0, y1 - y0) < 2.7


def test_the_portraits_of_a_source_are_one_of_their_own(
    astronaut: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "0_real/cam/a.png", astronaut)
    saved(tmp_path / "0_real/cam/plain.png", np.full((300, 300, 3), 90, np.uint8))
    (tmp_path / "0_real/cam/broken.jpg").write_bytes(b"no picture")
    saved(tmp_path / "1_fake/gen/a.png", astronaut[:, ::-1])
    command = ["data", "portraits", str(tmp_path), "--output", str(tmp_path), "--face", "60"]
    for _ in range(2):  # nor are portraits cut out of portraits
        assert main(command) == 0
        found = sorted(tmp_path.rglob("*-portraits/*"))
        assert [p.parent.relative_to(tmp_path).as_posix() for p in found] == [
            "0_real/cam-portraits", "1_fake/gen-portraits"]  # fmt: skip
    assert "1 portraits of photographs, 1 of generated pictures" in capsys.readouterr().err


def test_pictures_of_one_name_have_portraits_of_their_own_and_what_is_there_stays(
    astronaut: Image, tmp_path: Path
) -> None:
    for place in ("photos/cam/x/a.png", "photos/cam/y/a.png", "photos/cam/y/a.webp", "ai/a.png"):
        saved(tmp_path / place, astronaut)
    command = ["data", "portraits", str(tmp_path), "--output", str(tmp_path / "out"), "--face",
               "60", "--label-folders", "real=photos", "fake=ai"]  # fmt: skip
    assert main(command) == 0
    found = sorted((tmp_path / "out").rglob("*.png"))
    places = Counter(p.parent.relative_to(tmp_path / "out").as_posix() for p in found)
    assert places == {"ai/ai-portraits": 1, "photos/cam-portraits": 3}
    before = {path: path.read_bytes() for path in found}
    times = {path: path.stat().st_mtime_ns for path in found}
    # As a run that was killed leaves it: one is missing, of another a part was written.
    found[0].unlink()
    (found[1].parent / f".{found[1].name}.1.part").write_bytes(b"?")
    assert main(command) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == before
    assert all(path.stat().st_mtime_ns == times[path] for path in found[1:])


def test_two_portraits_of_a_picture_and_none_that_is_small(astronaut: Image) -> None:
    crowd = np.concatenate([astronaut, astronaut[:, ::-1], astronaut], axis=1)
    with FaceFinder(threads=1) as finder:
        assert len(finder.find(crowd)) == 3
        assert len(list(portraits(crowd, finder, 60))) == OF_A_PICTURE == 2
        for height in range(160, 512, 32):
            small = shrunk(astronaut, 512 / height)
            for top, bottom, left, right in portraits(small, finder, 20):
                assert min(bottom - top, right - left) >= LEAST_SIDE
        tiny = shrunk(astronaut, 3)
        (face,) = finder.find(tiny)
        assert face.xyxy[2] - face.xyxy[0] > 20 and list(portraits(tiny, finder, 20)) == []


class Found:
    """Finds the same faces in every picture."""

    def __init__(self, *boxes: Box) -> None:
        points = np.zeros((5, 2))
        self._faces = [Face(box, 0.9, points) for box in boxes]

    def find(self, image: Image) -> list[Face]:
        return self._faces


def test_the_largest_faces_are_cut_out_each_a_little_above_its_middle_and_none_alike() -> None:
    boxes = [(50, 50, 150, 150), (600, 100, 720, 220), (400, 500, 600, 700)]
    finder = cast(FaceFinder, Found(*boxes))
    shares = []
    for seed in range(20):
        picture = np.random.default_rng(seed).integers(0, 256, (1000, 1000, 3), np.uint8)
        first, second = portraits(picture, finder, 60)
        for (top, bottom, left, right), face in ((first, boxes[2]), (second, boxes[1])):
            side = face[2] - face[0]
            shares.append((right - left) / side)
            assert (left + right) / 2 == pytest.approx((face[0] + face[2]) / 2, abs=1)
            if top > 0:
                above = (face[1] + face[3]) / 2 - (top + bottom) / 2
                assert above == pytest.approx(0.05 * side, abs=1)
    assert 1.58 < min(shares) < 1.8 and 2.4 < max(shares) < 2.62


def test_portraits_of_portraits_are_none_and_of_a_source_so_many_pictures_are_taken(
    astronaut: Image, tmp_path: Path
) -> None:
    for place in ("0_real/cam-portraits/a", "0_real/cam/a", "0_real/cam/b", "1_fake/gen/a"):
        saved(tmp_path / f"{place}.png", astronaut)
    command = ["data", "portraits", str(tmp_path), "--output", str(tmp_path / "out"), "--face"]
    assert main([*command, "60", "--per-source", "1"]) == 0
    found = sorted((tmp_path / "out").rglob("*.png"))
    assert [p.parent.name for p in found] == ["cam-portraits", "gen-portraits"]


def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "portraits", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert "real: 0_real; fake: 1_fake" in capsys.readouterr().err
