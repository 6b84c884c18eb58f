"""Crops: which faces are cut, how, and that nothing known is cut again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.faces import Face, aligned_crops
from edge.files import sha256_of
from edge.types import Box
from tests.training.faces import made_videos
from tests.training.faces.fake_finder import FakeFinder, points_in
from tests.training.faces.made_videos import person_frames, truncated, write_video
from training.faces import crops
from training.faces.crops import HASHES, CropCache, Cut, Recipe
from training.faces.sampling import sampled
from training.faces.sets import FACES, crops_of


def recipe(finder: FakeFinder, fps: float = 4, most: int = 1, png: bool = True) -> Recipe:
    return Recipe(finder.name, finder.key, fps, 96, most, png)


def cut(cache: Path, video: Path, finder: FakeFinder, most: int = 1) -> tuple[Cut, Path]:
    store = CropCache(cache, recipe(finder, most=most), finder)
    found = store.cut_all([video], workers=1)[video]
    return found, crops_of(store.store, found.sha256)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", person_frames(1, 8))


@pytest.mark.parametrize(
    "face", [(60, 60, 160, 160), (0, 0, 90, 110), (170, 150, 240, 240), (0, 40, 240, 200)]
)
def test_a_crop_is_the_face_upright_as_the_device_sees_it(
    tmp_path: Path, video: Path, face: Box
) -> None:
    found, folder = cut(tmp_path / "cache", video, FakeFinder([face]))
    assert (found.sha256, found.frames, found.faces, found.fault) == (sha256_of(video), 4, 4, "")
    frames = {frame.index: frame.image for frame in sampled(video, 4)}
    assert {path.name for path in folder.glob("*.png")} == {f"{n:06d}_0.png" for n in frames}
    for index, image in frames.items():
        saved = np.asarray(PillowImage.open(folder / f"{index:06d}_0.png"))[:, :, ::-1]
        (expected,) = aligned_crops(image, [points_in(face)], 96)
        np.testing.assert_array_equal(saved, expected)
        assert saved.shape == (96, 96, 3)


def grid(_frame: int) -> Sequence[Box]:
    boxes = [(x, y, x + 90, y + 100) for y in range(10, 600, 120) for x in range(10, 1200, 120)]
    return [(0, 0, 119, 119), *boxes[1:]]


@pytest.mark.parametrize("most, kept", [(1, 1), (8, 8), (50, 50), (99, 50)])
def test_of_fifty_faces_the_largest_are_kept_and_the_others_counted(
    tmp_path: Path, most: int, kept: int
) -> None:
    video = write_video(tmp_path / "a.mp4", made_videos.crowd_frames(2))
    found, folder = cut(tmp_path / "cache", video, FakeFinder(grid), most)
    assert (found.faces, found.further_faces, found.without_face) == (kept, 50 - kept, 0)
    assert len(list(folder.glob("000000_*.png"))) == kept
    notes = json.loads((folder / FACES).read_bytes())
    assert notes["crops"][0]["face_xyxy"] == [0, 0, 119, 119]


def test_frames_without_a_face_are_counted(tmp_path: Path, video: Path) -> None:
    finder = FakeFinder(lambda frame: [(60, 60, 160, 160)] if frame % 2 else [])
    found, folder = cut(tmp_path / "cache", video, finder)
    assert (found.frames, found.faces, found.without_face) == (4, 2, 2)
    found, folder = cut(tmp_path / "cache2", video, FakeFinder([]))
    assert (found.frames, found.faces, found.without_face) == (4, 0, 4)
    assert [path.name for path in folder.iterdir()] == [FACES]


def test_a_known_file_is_not_decoded_again_wherever_it_lies(tmp_path: Path, video: Path) -> None:
    first, folder = cut(tmp_path / "cache", video, FakeFinder())
    again = FakeFinder()
    assert cut(tmp_path / "cache", video, again) == (first, folder)
    elsewhere = shutil.copy(video, tmp_path / "b.mp4")
    assert cut(tmp_path / "cache", Path(elsewhere), again) == (first, folder)
    assert again.looked == 0
    write_video(video, person_frames(2, 8))
    changed, _ = cut(tmp_path / "cache", video, again)
    assert changed.sha256 != first.sha256 and again.looked == 4


def test_a_known_file_is_not_even_hashed_again(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cut(tmp_path / "cache", video, FakeFinder())
    monkeypatch.setattr(crops, "sha256_of", None)
    assert cut(tmp_path / "cache", video, FakeFinder()) == first


def test_another_detector_or_shape_is_kept_apart(tmp_path: Path, video: Path) -> None:
    folders = set()
    for finder, most in (
        (FakeFinder(), 1),
        (FakeFinder(key="fake-2"), 1),
        (FakeFinder(), 2),
    ):
        _, folder = cut(tmp_path / "cache", video, finder, most)
        assert finder.looked == 4 and finder.opened == finder.closed == 1
        folders.add(folder)
    assert len(folders) == 3 and all(folder.is_dir() for folder in folders)
    keys = {
        recipe(FakeFinder()).key,
        recipe(FakeFinder(), fps=2).key,
        recipe(FakeFinder(), png=False).key,
    }
    assert len(keys) == 3


def test_what_a_killed_run_left_is_done_again(tmp_path: Path, video: Path) -> None:
    first, folder = cut(tmp_path / "cache", video, FakeFinder())
    (folder / FACES).unlink()
    with (tmp_path / "cache" / HASHES).open("a") as file:
        file.write('\n["/some/video.mp4", 12')
    again = FakeFinder()
    assert cut(tmp_path / "cache", video, again) == (first, folder)
    assert again.looked == 4 and (folder / FACES).exists()
    other = write_video(tmp_path / "b.mp4", person_frames(5, 8))
    second, _ = cut(tmp_path / "cache", other, FakeFinder())
    known = FakeFinder()
    assert cut(tmp_path / "cache", other, known)[0] == second and known.looked == 0


def test_a_cut_file_gives_what_it_has_until_another_decoder_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = truncated(tmp_path / "cut.mp4")
    finder = FakeFinder()
    found, _ = cut(tmp_path / "cache", video, finder)
    assert found.fault.startswith("the file is truncated (") and found.faces == finder.looked > 0
    assert cut(tmp_path / "cache", video, FakeFinder())[0] == found
    monkeypatch.setattr(crops, "DECODER", "another")
    again = FakeFinder()
    assert cut(tmp_path / "cache", video, again)[0] == found and again.looked == found.frames


def test_an_error_while_cutting_leaves_nothing(tmp_path: Path, video: Path) -> None:
    class Interrupted(FakeFinder):
        def find(self, image: object) -> list[Face]:
            raise KeyboardInterrupt

    finder = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        cut(tmp_path / "cache", video, finder)
    assert finder.closed == finder.opened == 1
    assert {p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()} == {"recipe.json"}


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    found, _ = cut(tmp_path / "cache", tmp_path / "none.mp4", FakeFinder())
    assert found == Cut("", fault="cannot be read (No such file or directory).")
