from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from edge.errors import SourceError
from edge.sources import open_recording
from edge.sources.stills import StillsSource, folder_source
from tests.edge.sources.clips import nothing_left_behind


def write_flat(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", (8, 6), (grey,) * 3).save(path)


def open_stills(text: str) -> StillsSource:
    source = open_recording(text)
    assert isinstance(source, StillsSource)
    return source


def test_a_folder_gives_its_pictures_in_natural_order(tmp_path: Path) -> None:
    names = ["2.png", "10.png", "b/1.jpg", "b/c/03.PNG", "b/c/20.png"]
    for index, name in enumerate(names):
        write_flat(tmp_path / name, 10 * index)
    (tmp_path / "notes.txt").write_text("words")
    write_flat(tmp_path / "._2.png", 255)
    with nothing_left_behind(), open_stills(str(tmp_path)) as source:
        frames = list(source)
    assert [frame.source for frame in frames] == [str(tmp_path / name) for name in names]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.image[0, 0, 0] for frame in frames] == pytest.approx([0, 10, 20, 30, 40], abs=2)
    assert {frame.pts for frame in frames} == {None}
    assert (source.kind, source.length, source.fps) == ("stills", 5, None)
    assert source.failures == []


def test_one_corrupt_picture_does_not_end_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in range(4):
        write_flat(tmp_path / f"{index}.png", index)
    bad = tmp_path / "1.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with caplog.at_level(logging.WARNING), open_stills(str(tmp_path)) as source:
        assert [frame.index for frame in source] == [0, 2, 3]
    (failure,) = source.failures
    assert failure.startswith(f"{bad}: ")
    assert failure in caplog.text


def test_a_folder_of_corrupt_pictures_is_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with (
        pytest.raises(
            SourceError, match=r"none of its 2 pictures can be read.*a\.png: the file is"
        ),
        open_recording(str(tmp_path)) as source,
    ):
        list(source)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone: cannot be listed \(No such file or directory\)"):
        folder_source(tmp_path / "gone", "gone")


def test_a_pattern(tmp_path: Path) -> None:
    for name in ("a1.png", "a12.png", "a2.png", "b.png", "deep/a3.png"):
        write_flat(tmp_path / name, 0)
    for pattern, expected in (
        ("a*.png", ["a1.png", "a2.png", "a12.png"]),
        ("**/a?.png", ["a1.png", "a2.png", "deep/a3.png"]),
    ):
        with open_recording(str(tmp_path / pattern)) as source:
            found = [frame.source for frame in source]
        assert found == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize("pattern", [".", "*"])
def test_nothing_to_read(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceError, match=r"expected pictures \(\.jpg.*found no file\."):
        open_recording(str(tmp_path / pattern))
    (tmp_path / "notes.txt").write_bytes(b"x")
    with pytest.raises(SourceError, match="found 1 file of other kinds"):
        open_recording(str(tmp_path / pattern))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(SourceError, match="found 1 video; give it by name"):
        open_recording(str(tmp_path / pattern))
