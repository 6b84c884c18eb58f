from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from rich.console import Console

from edge.errors import SourceError, UsageError
from tests.training.data.layout_trees import TREES, plant
from tests.training.pictures import index_folder, write_split
from training.data import folders
from training.data.config import DataConfig
from training.data.dataset import DataSet, open_dataset, open_training_data
from training.data.ledger import NAME
from training.data.probe import Probed, probe


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded, as it happens."""
    paths: list[str] = []

    def counted(path: Path, hashed: bool) -> Probed:
        paths.append(str(path))
        return probe(path, hashed)

    monkeypatch.setattr(folders, "probe", counted)
    return paths


def _counts(dataset: DataSet) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    return {name: (split.sources(0), split.sources(1)) for name, split in dataset.splits.items()}


def test_a_data_set_is_opened_whole_and_each_file_counted(tmp_path: Path) -> None:
    root = plant(tmp_path / "ForenSynth", TREES["forensynth"])
    seen: list[int] = []
    dataset = open_dataset(root, classes=["car"], cache=tmp_path / "c", on_file=seen.append)
    assert (dataset.layout, dataset.root) == ("forensynth", root)
    assert _counts(dataset) == {
        "train": ({"car": 2}, {"progan/car": 2}),
        "val": ({"progan": 4}, {"progan": 4}),
        "test/biggan": ({"biggan": 2}, {"biggan": 2}),
        "test/progan": ({"progan": 4}, {"progan": 4}),
    }
    assert seen == [24] * 24


def test_the_second_start_decodes_nothing_but_what_has_changed(
    tmp_path: Path, decoded: list[str]
) -> None:
    root, cache = plant(tmp_path / "data", TREES["ufd"]), tmp_path / "cache"
    (root / "dalle" / "1_fake" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    first = open_dataset(root, cache=cache)
    assert len(decoded) == len(set(decoded)) == 11  # the reals of two splits once
    decoded.clear()
    second = open_dataset(root, cache=cache)
    assert not decoded and _counts(second) == _counts(first)
    assert [r.picture.path.name for r in second.splits["test/dalle"].rejected] == ["cut.jpg"]
    changed = root / "laion" / "0_real" / "0.png"
    os.utime(changed, ns=(0, 0))
    open_dataset(root, cache=cache)
    assert decoded == [str(changed)]


def test_hashes_are_added_when_asked_for_and_kept(tmp_path: Path, decoded: list[str]) -> None:
    root, cache = plant(tmp_path / "data", TREES["plain"]), tmp_path / "cache"
    open_dataset(root, cache=cache)
    hashed = open_dataset(root, cache=cache, hashed=True)
    assert len(decoded) == 8 and all(one.phash for one in hashed.splits["all"].probed)
    again = open_dataset(root, cache=cache, hashed=True)
    plain = open_dataset(root, cache=cache)
    assert len(decoded) == 8 and len(plain.splits["all"].pictures) == 4
    hashes = [[one.phash for one in d.splits["all"].probed] for d in (hashed, again)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("obstacle", ["a file", "no database"])
def test_a_cache_that_cannot_be_used_is_survived_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    root, cache = plant(tmp_path / "data", TREES["plain"]), tmp_path / "cache"
    if obstacle == "a file":
        cache.touch()
    else:
        cache.mkdir()
        (cache / NAME).write_bytes(b"something else entirely" * 50)
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(root, cache=cache)
    assert len(dataset.splits["all"].pictures) == 4
    assert len(caplog.records) == 1 and "cannot be used" in caplog.text


def test_a_cache_that_fails_midway_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, cache = plant(tmp_path / "data", TREES["plain"]), tmp_path / "cache"
    open_dataset(root, cache=cache)
    with sqlite3.connect(cache / NAME) as connection:
        connection.execute(
            "create trigger full before insert on files begin select raise(abort, 'disk full'); end"
        )
    connection.close()
    os.utime(root / "0_real" / "camera" / "0.png", ns=(0, 0))
    assert len(open_dataset(root, cache=cache).splits["all"].pictures) == 4
    assert "disk full" in caplog.text


def test_a_damaged_cache_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, cache = plant(tmp_path / "data", TREES["plain"]), tmp_path / "cache"
    open_dataset(root, cache=cache)
    content = (cache / NAME).read_bytes()
    (cache / NAME).write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert len(open_dataset(root, cache=cache).splits["all"].pictures) == 4
    assert "malformed" in caplog.text


def test_a_cache_within_the_data_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path, TREES["plain"], each=0)
    with pytest.raises(UsageError, match="lies within the data"):
        open_dataset(root, cache=root / "cache")
    assert not (root / "cache").exists()


def test_bad_and_small_files_are_left_out_with_reasons(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["plain"])
    real = root / "0_real" / "camera"
    (real / "empty.png").touch()
    (real / "link.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(real / "pipe.png")
    PillowImage.new("L", (90, 5)).save(real / "flat.png")
    split = index_folder(root, smallest=16)
    reasons = {r.picture.path.name: r.reason for r in split.rejected}
    assert set(reasons) == {"empty.png", "link.png", "pipe.png", "flat.png"}
    assert reasons["flat.png"] == f"{real / 'flat.png'}: 90×5 pixels, smaller than 16."
    assert "No such file" in reasons["link.png"] and "no regular file" in reasons["pipe.png"]
    assert [r.small for r in split.rejected].count(True) == 1 and len(split.pictures) == 4


def test_an_empty_class_is_one_clear_error(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["forensynth"][:-1], each=1)
    (root / "test" / "biggan" / "1_fake").mkdir()
    with pytest.raises(SourceError, match=r"biggan/1_fake has no picture that can be used \(0 "):
        open_dataset(root, cache=tmp_path / "c")


def test_further_folders_join_with_one_label_or_both(tmp_path: Path) -> None:
    write_split(tmp_path / "known" / "train", 2, seed=0)
    write_split(tmp_path / "known" / "val", 2, seed=1)
    write_split(tmp_path / "kept" / "train", 2, seed=2)
    write_split(tmp_path / "kept" / "val", 2, seed=3)
    shutil.rmtree(tmp_path / "kept" / "train" / "1_fake")
    write_split(tmp_path / "flat", 2, seed=4)
    more = (tmp_path / "kept", tmp_path / "flat")
    found = open_training_data(
        DataConfig(crop=32, more=more), tmp_path / "known", 1, Console(quiet=True)
    )
    assert found.train is not None
    assert found.train.sources(0) == {"camera-a": 6, "camera-b": 6}
    assert found.train.sources(1) == {"made-a": 4, "made-b": 4}
    assert found.val.sources(0) == {"camera-a": 4, "camera-b": 4}
    with pytest.raises(SourceError, match=r"data\.more: expected pictures in"):
        open_training_data(
            DataConfig(crop=32, more=(tmp_path,)), tmp_path / "known", 1, Console(quiet=True)
        )
