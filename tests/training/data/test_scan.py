from __future__ import annotations

import os
from pathlib import Path

from training.data.scan import walk


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
