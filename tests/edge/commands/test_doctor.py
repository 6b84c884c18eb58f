from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge.commands.doctor import CHECKS
from edge.files import cache_folder
from edge.tensorrt.board import Board
from patchwatch import main
from tests.software_cuda import SoftwareGpu
from tests.software_cuda.fixtures import refusing_gpu as refusing_gpu
from tests.software_cuda.fixtures import software_cuda as software_cuda
from tests.software_cuda.fixtures import software_gpu as software_gpu


def test_every_line_is_ok_or_says_how_to_fix_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)
    assert len(checks) == len(CHECKS)
    for check in checks:
        assert check["status"] in ("ok", "missing", "unused")
        assert check["detail"]
        assert check["status"] != "missing" or check["fix"], check
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
    only = [check for check in CHECKS if check.name == "cache"]
    monkeypatch.setattr("edge.commands.doctor.CHECKS", only)
    main(["doctor", "--json"])
    (cache,) = json.loads(capsys.readouterr().out)
    assert cache["status"] == "missing" and "XDG_CACHE_HOME" in cache["fix"]


@pytest.mark.parametrize("board", [True, False])
def test_what_only_a_board_has_is_missed_only_there(
    board: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "edge.commands.doctor.read_board", lambda: Board(l4t="36.4" * board or None)
    )
    monkeypatch.setattr("os.path.exists", lambda path: False)
    absent = [replace(check, find=_absent) for check in CHECKS if check.only_for]
    monkeypatch.setattr("edge.commands.doctor.CHECKS", absent)
    assert main(["doctor", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert {check["name"] for check in checks} > {"GStreamer in OpenCV", "TensorRT"}
    assert {check["status"] for check in checks} == {"missing" if board else "unused"}
    assert main(["doctor"]) == 0
    assert "patchwatch can run here" in capsys.readouterr().out


def _absent() -> str:
    raise ImportError("it is not there")


def test_a_gpu_that_this_user_may_not_use_is_a_matter_of_groups(refusing_gpu: SoftwareGpu) -> None:
    (check,) = [replace(c, only_for=None) for c in CHECKS if c.name == "CUDA driver"]
    assert check.run().status == "ok"
    for settings, why in (({"init_error": 999}, "error 999"), ({"devices": 0}, "it finds none")):
        refusing_gpu.reset()
        refusing_gpu.set(**settings)
        line = check.run()
        assert why in line.detail and "sudo usermod -aG video,render $USER" in line.fix
