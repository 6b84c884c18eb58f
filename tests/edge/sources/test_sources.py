"""How a text becomes a source."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from edge.errors import SourceError
from edge.sources import open_recording, open_source
from edge.sources.live import LiveSource
from edge.sources.policy import Limits
from edge.types import Frame
from tests.edge.sources.clips import jpeg, nothing_left_behind, number, write_clip
from tests.programs import in_python
from tests.servers import free_port, http_files, motion_jpeg, mute_server


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0", "camera 0"),
        ("/dev/video12", "camera 12"),
        ("/dev/../dev/video7", "camera 7"),  # as the links in /dev/v4l/by-id
        ("csi://1", "csi://1"),
        ("CSI://1/", "csi://1"),
        ("rtsp://joe:secret@cam/a", "rtsp://***@cam/a"),
        ("RTSPS://cam/a", "RTSPS://cam/a"),
    ],
)
def test_the_text_chooses_a_live_source(text: str, name: str) -> None:
    source = open_source(text)
    assert (source.name, source.kind) == (name, "live")
    assert open_source(text, name="door").name == "door"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no source was given"),
        ("none.mp4", r"none\.mp4: no such file or folder\. Expected the number of a camera"),
        ("-1", "-1: no such file or folder"),
        ("x" * 5000, "no such file or folder"),
        ("/dev/null", "/dev/null: neither a file nor a folder"),
        (
            "ftp://joe:secret@host/a.mp4",
            r"ftp://\*\*\*@host/a\.mp4: ftp:// is not supported.*rtsp://",
        ),
        ("joe:secret@cam/live", r"\*\*\*@cam/live: no such file"),
        ("csi://joe:secret@front", r"csi://\*\*\*@front: expected csi://N"),
    ],
)
def test_what_is_no_source(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(text)
    assert "secret" not in str(caught.value)


def test_what_a_file_is_shows_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "a.jpg").write_bytes(clip.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (str(tmp_path / "link.mp4"), str(tmp_path / "a.jpg"), "~/clip.mp4"):
        source = open_source(text)
        assert (source.kind, source.name) == ("file", text)


@pytest.mark.parametrize(("as_live", "loop"), [(True, False), (False, True)])
def test_a_video_may_be_played_as_a_camera_would_send_it(
    tmp_path: Path, as_live: bool, loop: bool
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    played = open_source(str(clip), name="door", as_live=as_live, loop=loop)
    assert isinstance(played, LiveSource)
    assert (played.name, played.kind, played.length) == ("door", "live", None)
    assert open_source(str(clip)).kind == "file"


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


def test_a_recording_on_a_server_loses_no_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "late index.mp4", 50)
    with nothing_left_behind(), http_files(tmp_path) as address:
        url = f"{address}/late%20index.mp4?token=hunter2"
        assert open_source(url, as_live=True).kind == "live", "as one of several cameras"
        source = open_source(url)
        assert not isinstance(source, LiveSource)
        with source:
            assert (source.kind, source.length, source.fps) == ("file", 50, 30.0)
            frames = list(source)
    assert [number(frame.image) for frame in frames] == list(range(50))
    assert [frame.pts for frame in frames] == pytest.approx([i / 30 for i in range(50)], abs=1e-3)
    assert source.name == frames[0].source == f"{address}/late%20index.mp4?token=***"


def test_a_download_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    size = write_clip(tmp_path / "a.mp4", 50, faststart=True).stat().st_size
    frames: list[Frame] = []
    with (
        http_files(tmp_path, break_after=size // 2) as address,
        pytest.raises(SourceError, match=r"^door: ended after \d+ of 50 announced frames"),
    ):
        source = open_source(f"{address}/a.mp4", name="door")
        assert not isinstance(source, LiveSource)
        with source:
            frames += source
    assert frames


def test_where_nothing_answers_it_is_a_camera_that_may_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with motion_jpeg([jpeg(0)]) as url:
        assert open_source(url).kind == "live"
    assert open_source(f"http://joe:secret@127.0.0.1:{free_port()}/stream").kind == "live"
    with mute_server() as port:
        limits = Limits(open_s=0.3)
        assert open_source(f"http://127.0.0.1:{port}/stream", limits=limits).kind == "live"
    assert "secret" not in caplog.text


def test_a_name_is_no_camera_and_no_address_for_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mp4", 3).rename("0")
    with open_recording("0") as source:
        assert len(list(source)) == 3
    with pytest.raises(SourceError, match="no such file"):
        open_recording("rtsp://127.0.0.1/x")


def test_importing_the_package_costs_nothing_and_a_stream_needs_no_opencv() -> None:
    script = """
        import sys, edge.sources, edge.sources.live
        assert not {"cv2", "PIL", "av"} & set(sys.modules)
        sys.modules["cv2"] = None
        for text in ("rtsp://cam/a", "http://127.0.0.1:9/a"):
            assert edge.sources.open_source(text).kind == "live"
    """
    done = in_python(script)
    assert done.returncode == 0, done.stderr
