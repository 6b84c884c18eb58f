from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.scoring import find_files
from edge.sources import open_recording
from edge.sources.walk import walk
from training.data.folders import Part, find_pictures


def test_all_that_looks_for_pictures_finds_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, pool = tmp_path / "data", tmp_path / "pool"
    names = ["cat.png", "sub/dog.png", ".ipynb_checkpoints/cat-checkpoint.png", "._cat.png"]
    for name in (*names, "__MACOSX/cat.png", "Thumbs.db", "notes.txt"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"?")
    pool.mkdir()
    (pool / "far.png").write_bytes(b"?")
    (data / "linked").symlink_to(pool)
    (data / "linked twice").symlink_to(pool)
    (pool / "back").symlink_to(data)
    expected = ["cat.png", "linked/far.png", "sub/dog.png"]

    def below(paths: list[Path]) -> list[str]:
        return sorted(os.path.relpath(path, data) for path in paths)

    hidden: list[str] = []
    assert below(list(map(Path, find_files([data], hidden.append)))) == expected
    assert below([Path(path) for path in hidden]) == ["._cat.png", ".ipynb_checkpoints", "__MACOSX"]
    assert below([p.path for p in find_pictures([Part(data, 0, None)])]) == expected
    caplog.set_level("INFO")
    assert open_recording(data).length == 3
    assert "4 hidden ones are left out" in caplog.text


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    unread: list[str] = []
    absent = str(tmp_path / "absent")
    assert list(walk(absent, bool, unread=lambda path, _: unread.append(path))) == []
    assert unread == [absent]


def test_links_in_a_circle_cost_nothing_but_themselves(tmp_path: Path) -> None:
    (tmp_path / "one.png").symlink_to("two.png")
    (tmp_path / "two.png").symlink_to("one.png")
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "zebra.png").write_bytes(b"?")
    unread: list[str] = []
    found = walk(str(tmp_path), bool, unread=lambda path, _: unread.append(path))
    assert [os.path.basename(path) for path in found] == ["one.png", "two.png", "zebra.png"]
    assert unread == []
