"""What a shell made of a pattern, and what a folder of videos holds."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from edge.errors import NotFound, SourceError
from edge.sources.several import all_pictures, names_of, spread
from patchwatch import main
from tests.edge.commands.test_run import write_clip
from tests.fakes import barred


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips, two pictures, and a folder of both."""
    monkeypatch.chdir(tmp_path)
    for folder in ("clips", "shots", "mixed"):
        Path(folder).mkdir()
    for name in ("clips/b.mp4", "clips/a.mkv", "mixed/c.mp4"):
        write_clip(Path(name), [barred(5)] * 12)
    for name in ("shots/1.png", "shots/2.png", "mixed/3.png"):
        cv2.imwrite(name, barred(250))
    return tmp_path


def test_a_folder_of_videos_stands_for_them(files: Path) -> None:
    assert spread(["clips"]) == spread(["clips/*"]) == ["clips/a.mkv", "clips/b.mp4"]
    assert spread(["0", "clips", "http://h/x*"]) == [
        "0",
        "clips/a.mkv",
        "clips/b.mp4",
        "http://h/x*",
    ]
    for other in ("shots", "mixed", "mixed/*", "absent", "absent*", "shots/1.png", ""):
        assert spread([other]) == [other]
    for number in range(16):
        Path(f"clips/{number}.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match=r"18 videos are too many.*patchwatch score clips"):
        spread(["clips"])


def test_files_keep_their_names_and_cameras_are_numbered(files: Path) -> None:
    assert names_of(["clips/a.mkv", "rtsp://h/x", "mixed/c.mp4"]) == ["a.mkv", "cam2", "c.mp4"]
    Path("c.mkv").write_bytes(b"")
    assert names_of(["mixed/c.mp4", "c.mkv"]) == ["1 c.mp4", "2 c.mkv"]
    assert all_pictures(["shots/1.png", "mixed/3.png"])
    assert not all_pictures(["shots/1.png"]) and not all_pictures(["shots/1.png", "clips/a.mkv"])


def test_run_takes_them_all(files: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    def rows(*words: str) -> set[tuple[str, str]]:
        assert main(["run", *words, "--model", model, "--headless", "--json", "-"]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return {(line["source"], line["verdict"]) for line in lines}

    assert rows("shots/1.png", "shots/2.png") == {("shots/1.png", "fake"), ("shots/2.png", "fake")}
    for words in (["clips"], ["clips/*.m*"], ["clips/a.mkv", "clips/b.mp4"]):
        assert {source for source, _ in rows(*words)} == {"a.mkv", "b.mp4"}
    for picture in ("shots/1.png", "shots/2.png"):
        words = ["shots/1.png", "shots/2.png", "--json", picture, "--overwrite"]
        assert main(["run", *words, "--model", model, "--headless"]) == 2
        assert "is a source" in capsys.readouterr().err


def test_score_takes_a_pattern_that_no_shell_replaced(
    files: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "s*/*.png", "--model", model, "--format", "json"]) == 0
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["source"] for line in lines] == ["shots/1.png", "shots/2.png"]
    assert main(["score", "none*.png", "--model", model]) == 1
    assert "none*.png: no file matches this pattern." in capsys.readouterr().out


def test_what_a_mixed_folder_leaves_out_is_said(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert spread(["mixed"]) == ["mixed"]
    assert "mixed: its pictures are shown, and 1 video is left out" in caplog.text
    caplog.clear()
    assert spread(["shots", "clips"]) == ["shots", "clips/a.mkv", "clips/b.mp4"]
    assert not caplog.text


def test_of_several_pictures_the_one_that_is_not_there_is_named(files: Path) -> None:
    with pytest.raises(NotFound, match=r"^shots/9\.png: no such file\.$"):
        spread(["shots/1.png", "shots/9.png"])
