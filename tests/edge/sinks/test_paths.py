from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import SinkError
from edge.sinks.paths import file_stem, open_unharmed, refuse_source


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("/photos/cat.jpg", "cat"),
        ("archive.tar.gz", "archive.tar"),
        ("/dev/video0", "video0"),
        ("camera 0", "camera-0"),
        ("0", "0"),
        ("rtsp://cam.local:8554/front/door?token=x", "cam.local-8554-front-door"),
        ("Küche/Bär.png", "Bär"),
        ("East/1", "East-1"),
        ("a\udcff.png", "a"),
        ("..", "frame"),
        ("/", "frame"),
        ("", "frame"),
        ("x" * 300 + ".png", "x" * 50),
    ],
)
def test_file_stem(source: str, stem: str) -> None:
    assert file_stem(source) == stem


def test_opening_creates_and_harms_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("precious")
    open_unharmed(old).close()
    open_unharmed(new).close()
    assert old.read_text() == "precious"
    assert new.read_bytes() == b""


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere/out.jsonl", "no folder .*nowhere.*Create it"),
        ("", "it is a folder"),
        ("file/out.jsonl", "is a file, not a folder"),
        ("/sys/out.jsonl", "permission is denied"),
    ],
)
def test_says_why_a_file_cannot_be_written(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=reason):
        open_unharmed(tmp_path / place)


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    (tmp_path / "link.mp4").symlink_to(clip)
    for output in (clip, tmp_path / "link.mp4"):
        with pytest.raises(SinkError, match="is the source itself"):
            refuse_source(output, str(clip))
    refuse_source(clip, "camera 0")
    refuse_source(clip, "bad\0name")
    refuse_source(tmp_path / "new.mp4", str(clip))
