"""The whole way by its own program, and the pictures that it makes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge.errors import SinkError
from edge.types import Image
from tests.training.pictures import index_folder
from training import smoke
from training.program import run_program
from training.smoke import CAMERAS, GENERATORS, write_split


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
    assert "interrupted" in errors and "Traceback" not in errors
    assert "patchwatch train" not in said
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


def test_a_split_has_both_labels_and_every_source(tmp_path: Path) -> None:
    write_split(tmp_path / "val", per_camera=2, side=64, seed=0)
    found = index_folder(tmp_path / "val", smallest=64)
    assert found.sources(0) == dict.fromkeys(sorted(CAMERAS), 2)
    assert found.sources(1) == dict.fromkeys(sorted(GENERATORS), 4)
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be written"):
        write_split(tmp_path / "file" / "val", per_camera=1, side=32, seed=0)


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_decoder_keeps_the_picture_and_leaves_a_trace(generator: str) -> None:
    image = CAMERAS["textured"](np.random.default_rng(0), 64)
    fake = GENERATORS[generator](image)
    assert fake.shape == image.shape
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(fake[inner].astype(int) - image[inner].astype(int)).mean() < 12
    ratios = [made / taken for made, taken in zip(phases(fake), phases(image), strict=True)]
    assert max(ratios) > 5


def phases(image: Image) -> tuple[float, float]:
    """How unlike even and odd columns are, 0..1: in brightness, and in the step to the next."""
    levels = image.astype(float)
    return unlike(levels), unlike(np.abs(np.diff(levels, axis=1)))


def unlike(columns: npt.NDArray[np.float64]) -> float:
    even, odd = columns[:, ::2].mean(), columns[:, 1::2].mean()
    return float(abs(even - odd) / (even + odd))
