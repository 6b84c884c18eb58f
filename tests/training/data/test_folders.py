from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from edge.errors import SourceError
from edge.labels import UNSORTED
from tests.training.pictures import index_folder, write_split
from training.data.folders import walk


def _save(path: Path, size: tuple[int, int] = (20, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", size, (200, 100, 50)).save(path)
    return path


def test_label_comes_from_the_named_folder_alone(tmp_path: Path) -> None:
    split = tmp_path / "1_fake" / "train"
    _save(split / "0_real" / "fake-lake" / "deep" / "1_fake.png")
    _save(split / "1_fake" / "real-esrgan" / "0_real.JPG")
    _save(split / "1_fake" / "loose.png")
    found = {p.path.name: (p.label, p.source) for p in index_folder(split).pictures}
    assert found == {
        "1_fake.png": (0, "fake-lake"),
        "0_real.JPG": (1, "real-esrgan"),
        "loose.png": (1, UNSORTED),
    }


def test_sources_are_counted_and_described(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=3, seed=0)
    folder = index_folder(tmp_path)
    assert folder.sources(0) == {"camera-a": 3, "camera-b": 3}
    assert folder.describe() == (
        "6 photographs (camera-a, camera-b) and 6 generated pictures (made-a, made-b)"
    )


def test_an_empty_class_is_refused_and_says_how_many_were_lost(tmp_path: Path) -> None:
    _save(tmp_path / "0_real" / "camera" / "a.png")
    (tmp_path / "1_fake" / "made").mkdir(parents=True)
    (tmp_path / "1_fake" / "made" / "b.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"1_fake has no picture .*\(1 unreadable or too small\)"):
        index_folder(tmp_path)


def test_files_come_in_the_order_of_paths_whatever_is_among_them(tmp_path: Path) -> None:
    names = ["b/z.png", "b/a/1.JPG", "a.webp", "c.jpeg", "b/ä.gif", "notes.txt", "b/x"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(os.fsdecode(path)) for path in walk(os.fsencode(tmp_path))]
    assert found == sorted(p for p in tmp_path.rglob("*.*") if p.suffix not in (".txt", ""))


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "1.png").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "far")
    (tmp_path / "data" / "broken.png").symlink_to(tmp_path / "nowhere")
    found = [
        os.path.relpath(os.fsdecode(p), tmp_path) for p in walk(os.fsencode(tmp_path / "data"))
    ]
    assert found == ["data/broken.png", "data/link/1.png"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert list(walk(os.fsencode(tmp_path / "absent"))) == [os.fsencode(tmp_path / "absent")]
