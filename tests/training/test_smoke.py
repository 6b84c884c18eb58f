"""The whole way by its own program; about half a minute, and meant for every run of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training import smoke
from training.program import run_program


def words(out: Path) -> list[str]:
    return [sys.executable, "-m", "training.smoke", str(out)]


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_pictures_become_a_model_file_that_tells_fakes(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words(tmp_path / "out"), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout
    for command in ("data", "train", "distill", "export", "evaluate"):
        assert f"patchwatch {command}" in table
    assert "mean AUC of student" in table and "Traceback" not in done.stderr
    assert (tmp_path / "out" / "student.onnx").is_file()


def test_ctrl_c_ends_it_in_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        words(out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    give_up = time.monotonic() + 60
    while not (out / "train.log").exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Stopped" in errors and "Traceback" not in errors and said == ""
    assert not (out / "distill.log").exists()


def program(out: Path) -> int:
    return run_program("training.smoke", None, smoke.add_arguments, smoke.run, [str(out)])


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    assert program(tmp_path) == 1
    assert "is not empty. Name a new folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_that_fails_is_told_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "CONFIGS", {"teacher": "name: a\nsteps: 1\nstepps: 1"})
    assert program(tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "patchwatch train gave exit code 2" in said and "unknown key 'stepps'" in said
