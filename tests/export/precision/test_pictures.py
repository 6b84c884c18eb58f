"""Calibration pictures: which are taken, how they are cut, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.errors import SourceError
from edge.manifest import PatchGrid
from edge.regions import parse_region
from export.compare import textured
from export.precision import pictures
from export.precision.pictures import crops, read_pictures
from tests.fakes import make_manifest


def fill(folder: Path, count: int, size: tuple[int, int] = (40, 30)) -> Path:
    for index in range(count):
        path = folder / f"{index % 3}" / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = textured((1, size[1], size[0]))[0]
        image[0, 0] = index
        PillowImage.fromarray(image).save(path)
    return folder


def test_they_are_cut_and_every_third_is_untouched(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    manifest = make_manifest(region="center:24")
    found = read_pictures(fill(tmp_path, 6), manifest, tell=lambda *x: told.append(x))
    assert [frames.shape for frames in found] == [(1, 24, 24, 3)] * 6
    assert told == [(index, 6) for index in range(6)]
    image = textured((1, 30, 40))[0]
    (exact,) = crops(image[..., ::-1], parse_region("center:24"), None)
    same = [np.array_equal(frames, exact) or index for index, frames in enumerate(found)]
    assert [value is True for value in same] == [True, False, False, True, False, False]


def test_no_more_than_enough_are_read_evenly_and_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST", 4)
    monkeypatch.setattr(pictures, "QUALITIES", (None,))
    manifest = make_manifest()
    found = read_pictures(fill(tmp_path, 9), manifest)
    # Folders 0, 1, 2 hold 0 3 6, 1 4 7, 2 5 8.
    assert [int(frames[0, 0, 0, 0]) for frames in found] == [0, 6, 4, 2]
    again = read_pictures(tmp_path, manifest)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_what_is_broken_or_too_small_is_passed_by(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    PillowImage.new("RGB", (9, 9)).save(tmp_path / "small.png")
    manifest = make_manifest(patches=PatchGrid(receptive_field=20, stride=2))
    assert len(read_pictures(tmp_path, manifest)) == 2
    with pytest.raises(SourceError, match="that fake can look at, found none among 4"):
        read_pictures(tmp_path, make_manifest(patches=PatchGrid(receptive_field=50, stride=2)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="expected pictures, found none"):
        read_pictures(tmp_path / "empty", manifest)
    with pytest.raises(SourceError, match="expected a folder of pictures, found none"):
        read_pictures(tmp_path / "absent", manifest)


def test_of_a_large_frame_the_middle_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "LARGEST_SIDE", 24)
    (found, *_) = read_pictures(fill(tmp_path, 1), make_manifest())
    assert found.shape == (1, 24, 24, 3)


@pytest.mark.parametrize("fixed", [(1, 16, 20), (2, 50, 60), (1, 200, 8), (3, 30, 40)])
def test_a_fixed_shape_is_kept(fixed: tuple[int, int, int]) -> None:
    image = textured((1, 30, 40))[0]
    (found,) = crops(image, parse_region("native"), fixed)
    assert found.shape == (*fixed, 3)
    assert all(np.array_equal(picture, found[0]) for picture in found)
