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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source: gone.mp4", "gone.mp4: no such file"),
        ("cameras: [{name: a, source: gone.mp4}]", "gone.mp4: no such file"),
        ("model: lite9", "lite9"),
        ("model: gone.onnx", "gone.onnx"),
        ("faces: {model: lite9}", "lite9"),
        ("{source: '0', output: {save: '{cam}.mp4'}}", "no placeholder {cam}. Expected {camera}"),
        (
            "{cameras: [{name: a, source: '0'}], alerts: {folder: 'events/{name}'}}",
            "no placeholder {name}",
        ),
        ("backend: {threads: two}", "backend.threads: expected a whole number, found 'two'"),
        ("output: {rotate_s: -1}", "expected a number above 0"),
        ("capture: {rtsp_transport: tpc}", "expected one of 'auto', 'tcp' or 'udp'"),
        ("cameras: {door: 0}", "cameras: expected a list, found {'door': 0}"),
        ("output: {heat_map: maybe}", "expected true or false"),
    ],
)
def test_what_would_not_run_is_found(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert main(["config", str(path)]) != 0
    out = capsys.readouterr()
    assert said in out.err and "valid" not in out.err and f"{path}: ok" not in out.out


@pytest.mark.parametrize(
    "text",
    [
        "source: rtsp://host/x",
        "source: /dev/v4l/by-id/usb-absent",
        "source: 'shots/*.png'",
        "{cameras: [{name: a, source: '0'}], output: {save: '{camera}.mp4'}}",
    ],
)
def test_what_may_come_later_is_no_fault(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert main(["config", str(path)]) == 0, capsys.readouterr().err
