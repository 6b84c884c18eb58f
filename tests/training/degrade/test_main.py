from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from tests.training.pictures import smooth_noise


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training.degrade", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_bench_prints_a_rate_for_every_degradation(tmp_path: Path) -> None:
    PillowImage.fromarray(smooth_noise(np.random.default_rng(0), 96)).save(tmp_path / "a.png")
    done = _run("--bench", str(tmp_path), "--size", "32", "--seconds", "0.01")
    assert done.returncode == 0, done.stderr
    for name in ("jpeg", "h265", "poisson_noise", "the policy"):
        assert name in done.stdout


def test_a_folder_without_pictures_is_one_sentence(tmp_path: Path) -> None:
    done = _run("--bench", str(tmp_path))
    assert done.returncode == 2
    assert "expected a folder with pictures, found none." in done.stderr
    assert "Traceback" not in done.stderr
