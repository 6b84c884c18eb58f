from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.commands.doctor import CHECKS
from edge.files import cache_folder
from patchwatch import main


def test_every_line_is_ok_or_says_how_to_fix_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)
    assert len(checks) == len(CHECKS)
    for check in checks:
        assert check["status"] in ("ok", "missing")
        assert check["detail"]
        assert check["status"] == "ok" or check["fix"], check
    names = {check["name"] for check in checks}
    expected = {"OpenCV", "GStreamer in OpenCV", "TensorRT", "CUDA library", "display", "cache"}
    assert expected <= names


def test_the_lines_of_a_working_machine_end_in_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "onnxruntime" in out and "CPUExecutionProvider" in out


def test_an_unwritable_cache_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() == tmp_path / "file" / "patchwatch"
    main(["doctor", "--json"])
    cache = next(c for c in json.loads(capsys.readouterr().out) if c["name"] == "cache")
    assert cache["status"] == "missing" and "XDG_CACHE_HOME" in cache["fix"]
