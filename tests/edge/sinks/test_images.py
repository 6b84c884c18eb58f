from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import SinkError
from edge.sinks.images import ImagesSink, encode_image
from tests.edge.sinks.results import files_up_to, give, make_result, moving, names, plain


def test_pictures_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    picture = plain(33, 47, (20, 120, 220))
    with ImagesSink(folder) as sink:
        give(sink, make_result(index=12, source="/clips/cat.mp4"), picture)
    assert names(folder) == ["cat_000012.jpg"]
    back = cv2.imread(str(folder / "cat_000012.jpg"))
    assert back is not None and back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).max() <= 3
    encoded = np.frombuffer(encode_image(picture, ".png"), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(encoded, cv2.IMREAD_COLOR), picture)  # lossless


def test_nothing_is_overwritten_by_an_equal_stem(tmp_path: Path) -> None:
    (tmp_path / "cat-2_000001.jpg").write_bytes(b"precious")
    with ImagesSink(tmp_path) as sink:
        for index in range(2):
            for folder, level in (("a", 10), ("b", 20)):
                give(sink, make_result(plain(4, 4, (level,) * 3), index, f"{folder}/cat.png"))
    assert (tmp_path / "cat-2_000001.jpg").read_bytes() == b"precious"
    expected = {
        "cat_000000.jpg": 10,
        "cat-2_000000.jpg": 20,
        "cat_000001.jpg": 10,
        "cat-3_000001.jpg": 20,
    }
    for name, level in expected.items():
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None and abs(int(picture.max()) - level) < 3


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    place = Path("/sys/pictures") if os.geteuid() == 0 else tmp_path / "pictures"
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="permission is denied"), ImagesSink(place):
        pass


def test_what_cannot_be_written_leaves_no_half_picture(tmp_path: Path) -> None:
    with ImagesSink(tmp_path) as sink:
        with pytest.raises(SinkError, match="70000×1"):
            give(sink, make_result(plain(1, 70_000, (0, 0, 0))))
        with files_up_to(1000), pytest.raises(SinkError, match="largest size allowed"):
            give(sink, make_result(next(moving(200, 300, 1))))
    assert names(tmp_path) == []
