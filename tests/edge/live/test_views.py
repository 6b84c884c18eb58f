from __future__ import annotations

import logging

import pytest
from rich.console import Console

from edge.config import RunConfig, build_config
from edge.live.views import Controls, make_views
from tests.fakes import FakeSource, grey, make_manifest

MODEL = make_manifest()


def test_without_a_display_there_is_a_note_and_no_window(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.INFO):
        views = make_views(RunConfig(), Controls(), Console(), "2 cameras", MODEL)
    assert [view.name for view in views] == ["status"]
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in caplog.text
    assert "Continuing without a window" in caplog.text


def test_a_recording_has_a_line_of_progress_and_live_sources_a_table() -> None:
    config = build_config({"output": {"window": False}})
    source = FakeSource([grey(9)])
    assert make_views(config, Controls(), None, "clip", MODEL, source) == []
    (progress,) = make_views(config, Controls(), Console(), "clip", MODEL, source)
    (status,) = make_views(config, Controls(), Console(), "door", MODEL)
    assert (progress.name, status.name) == ("progress", "status")
