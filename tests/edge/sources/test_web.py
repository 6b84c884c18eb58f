from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

import pytest

from edge.errors import SourceError
from edge.sources import open_source
from edge.sources.live import LiveSource
from edge.sources.policy import Limits, RetryPolicy
from edge.sources.web import WebSource
from edge.types import Frame
from tests.edge.sources.clips import jpeg, nothing_left_behind, number, write_clip
from tests.servers import free_port, http_files, motion_jpeg, mute_server

ONCE = RetryPolicy(retries=0)


def test_a_recording_loses_no_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "late index.mp4", 50)
    with http_files(tmp_path) as address:
        source = open_source(f"{address}/late%20index.mp4?token=hunter2")
        assert (source.kind, source.length) == ("live", None), "nobody has asked yet"
        with nothing_left_behind(), source:
            assert (source.kind, source.length, source.fps) == ("file", 50, 30.0)
            frames = [frame for frame in source if frame is not None]
    assert [number(frame.image) for frame in frames] == list(range(50))
    assert [frame.pts for frame in frames] == pytest.approx([i / 30 for i in range(50)], abs=1e-3)
    assert source.name == frames[0].source == f"{address}/late%20index.mp4?token=***"


def test_a_download_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    size = write_clip(tmp_path / "a.mp4", 50, faststart=True).stat().st_size
    taken: list[Frame | None] = []
    with (
        http_files(tmp_path, break_after=size // 2) as address,
        pytest.raises(SourceError, match=r"^door: ended after \d+ of 50 announced frames"),
        open_source(f"{address}/a.mp4", name="door") as source,
    ):
        taken += source
    assert taken


def test_a_camera_is_live() -> None:
    pictures = [jpeg(index) for index in range(10)]
    with motion_jpeg(pictures) as url, open_source(url) as source:
        assert (source.kind, source.length) == ("live", None)
        frames = [frame for frame in islice(source, 15) if frame is not None]
    assert len({(number(frame.image) - frame.index) % 10 for frame in frames}) == 1


def test_whoever_needs_the_source_itself_may_have_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 10)
    with http_files(tmp_path) as address, motion_jpeg([jpeg(0)]) as url:
        recording, camera = open_source(f"{address}/a.mp4"), open_source(url, name="door")
        assert isinstance(recording, WebSource) and isinstance(camera, WebSource)
        with recording.resolve() as source:
            assert (source.kind, source.length) == ("file", 10)
        found = camera.resolve()
        assert isinstance(found, LiveSource)
        assert found.name == "door"


def test_what_a_server_does_not_have(tmp_path: Path) -> None:
    with (
        http_files(tmp_path) as address,
        pytest.raises(SourceError) as caught,
        open_source(f"{address}/none.mp4", retry=ONCE) as source,
    ):
        list(source)
    assert caught.value.fault == "not_found"
    assert str(caught.value).startswith(f"{address}/none.mp4: ")


def test_a_recording_that_is_gone_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sources.streams.is_recording", lambda *_: True)
    with (
        http_files(tmp_path) as address,
        pytest.raises(SourceError, match=r"none\.mp4: cannot be opened as a video\. Check"),
        open_source(f"{address}/none.mp4"),
    ):
        pass


def test_where_nothing_answers_it_is_a_camera_that_may_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://joe:secret@127.0.0.1:{free_port()}/a.mp4"
    with open_source(url) as source:
        assert source.kind == "live"
        assert next(iter(source)) is None
    assert "secret" not in caplog.text


def test_where_somebody_is_mute_it_is_a_camera_that_may_come() -> None:
    with (
        mute_server() as port,
        open_source(f"http://127.0.0.1:{port}/a.mp4", limits=Limits(open_s=0.3)) as source,
    ):
        assert source.kind == "live"
        assert next(iter(source)) is None


def test_it_is_entered_before_it_is_read() -> None:
    with pytest.raises(RuntimeError, match="entered"):
        iter(open_source("http://127.0.0.1/a.mp4"))
