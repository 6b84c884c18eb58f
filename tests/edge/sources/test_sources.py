"""How a text becomes a source."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge.errors import SourceError
from edge.sources import open_source
from edge.sources.base import SourceKind
from edge.sources.live import LiveSource
from edge.sources.pump import PumpedSource
from edge.sources.web import WebSource
from tests.edge.sources.clips import jpeg, write_clip


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
    assert open_source(text, name="door").name == "door"


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
        ("csi://joe:secret@front", r"csi://\*\*\*@front: expected csi://N"),
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


@pytest.mark.parametrize(("as_live", "loop"), [(True, False), (False, True)])
def test_a_video_may_be_played_as_a_camera_would_send_it(
    tmp_path: Path, as_live: bool, loop: bool
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    played = open_source(str(clip), name="door", as_live=as_live, loop=loop)
    assert isinstance(played, LiveSource)
    assert (played.name, played.kind, played.length) == ("door", "live", None)
    assert isinstance(open_source(str(clip)), PumpedSource)


@pytest.mark.parametrize(("as_live", "loop"), [(True, False), (False, True)])
@pytest.mark.parametrize("text", ["p.jpg", ".", "*.jpg"])
def test_pictures_are_no_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, as_live: bool, loop: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jpg").write_bytes(jpeg(0))
    message = re.escape(f"{text}: pictures cannot be watched as a camera is. Expected a camera")
    with pytest.raises(SourceError, match=message):
        open_source(text, as_live=as_live, loop=loop)
    assert open_source(text).kind == "stills"


def test_one_of_several_cameras_is_never_taken_for_a_recording() -> None:
    assert isinstance(open_source("http://cam/a"), WebSource)
    assert isinstance(open_source("http://cam/a", as_live=True), LiveSource)


def test_importing_the_package_costs_nothing() -> None:
    script = (
        "import sys, edge.sources, edge.sources.live; "
        "print([name for name in ('cv2', 'PIL', 'av') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_stream_needs_no_opencv() -> None:
    script = """
        import sys
        sys.modules["cv2"] = None
        from edge.sources import open_source
        for text in ("rtsp://cam/a", "http://cam/a"):
            assert open_source(text).kind == "live"
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
