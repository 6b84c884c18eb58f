from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from edge.terminal import show_notes
from patchwatch import main
from tests.edge.sources.clips import write_clip


def test_a_note_is_a_line_for_people_or_an_object_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    show_notes()
    logging.getLogger("edge.x").warning("a line\nof %d", 2)
    note = json.loads(capsys.readouterr().err)
    assert note["time"] > 0
    assert (note["level"], note["logger"], note["message"]) == ("warning", "edge.x", "a line\nof 2")


def test_with_json_every_line_of_a_run_is_an_object(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    clip = str(write_clip(tmp_path / "clip.mp4", 40, (96, 64)))
    alerts = ["--alerts", str(tmp_path / "events")]
    assert main(["run", clip, "--model", model, "--headless", *alerts]) == 0
    assert main(["run", str(tmp_path / "absent.mp4"), "--model", model, "--headless"]) == 1
    notes = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert notes[-1]["level"] == "error" and "absent.mp4" in notes[-1]["message"]


def test_the_last_words_of_a_run_are_an_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    for words in (["run", "absent.mp4", "--headless"], ["rum"]):
        assert main(words) != 0
        *_, last = (json.loads(line) for line in capsys.readouterr().err.splitlines())
        assert list(last) == ["time", "level", "logger", "message"]
        assert (last["level"], last["logger"]) == ("error", "patchwatch")
