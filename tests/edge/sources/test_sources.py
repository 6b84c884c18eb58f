"""How a text becomes a source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge.errors import SourceError
from edge.sources import open_source
from edge.sources.base import SourceKind


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("0", "camera 0", "live"),
        ("/dev/video12", "camera 12", "live"),
        ("/dev/../dev/video7", "camera 7", "live"),  # as the links in /dev/v4l/by-id
        ("csi://1", "csi://1", "live"),
        ("CSI://1/", "csi://1", "live"),
        ("rtsp://joe:secret@cam/a", "rtsp://***@cam/a", "live"),
        ("RTSPS://cam/a", "RTSPS://cam/a", "live"),
        ("https://cam/a?key=secret", "https://cam/a?key=***", "live"),
    ],
)
def test_the_text_chooses_the_source(text: str, name: str, kind: SourceKind) -> None:
    source = open_source(text)
    assert (source.name, source.kind) == (name, kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no source was given"),
        ("none.mp4", r"none\.mp4: no such file or folder\. Expected the number of a camera"),
        ("-1", "-1: no such file or folder"),
        ("x" * 5000, "no such file or folder"),
        ("/dev/null", "/dev/null: neither a file nor a folder"),
        ("ftp://joe:secret@host/a.mp4", r"ftp://\*\*\*@host/a\.mp4: ftp:// is not known.*rtsp://"),
        ("joe:secret@cam/live", r"\*\*\*@cam/live: no such file"),
    ],
)
def test_what_is_no_source(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(text)
    assert "secret" not in str(caught.value)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    assert open_source(str(tmp_path / "link.mp4")).kind == "file"


def test_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert open_source("~/clip.mp4").name == "~/clip.mp4"


def test_importing_the_package_costs_nothing() -> None:
    script = "import sys, edge.sources; print([m for m in ('cv2', 'PIL') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
