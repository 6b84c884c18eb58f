from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchwatch import main


def test_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--schema"]) == 0
    assert "source" in json.loads(capsys.readouterr().out)["properties"]


def test_checks_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("source: 0")
    bad.write_text("sourec: 0")
    assert main(["config", str(good), str(bad)]) == 2
    out = capsys.readouterr()
    assert f"{good}: ok" in out.out and "Did you mean 'source'?" in out.err


def test_needs_either_files_or_the_schema() -> None:
    assert main(["config"]) == 2
