from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edge.manifest import Calibration
from tests.training.pictures import write_split
from training.checkpoint import load_checkpoint
from training.data.degradations import COLUMNS, JPEG_90, UNTOUCHED
from training.data.folders import index_folder
from training.direct import add_arguments, run
from training.evaluation import evaluate
from training.program import run_program

FLAGS = (
    *("--preprocessing", "NPR", "--crop", "32", "--batch", "16", "--rate", "0.03"),
    *("--workers", "0", "--licence", "none"),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small are slower on many threads, much so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_split(folder / "train", per_source=6, seed=0)
    write_split(folder / "val", per_source=4, seed=1)
    return folder


def _train(data: Path, output: Path, *flags: str) -> int:
    words = [str(data), "--output", str(output), *FLAGS, *flags]
    return run_program("training.direct", None, add_arguments, run, words)


def test_a_short_training_learns_an_easy_difference_and_describes_itself(
    data: Path, tmp_path: Path
) -> None:
    flags = ("--steps", "40", "--validate-every", "20", "--name", "easy", "--note", "Made up.")
    assert _train(data, tmp_path / "run", *flags) == 0
    model, card = load_checkpoint(tmp_path / "run" / "easy.safetensors")
    pictures = index_folder(data / "val").pictures
    evaluation = evaluate(model, pictures, [UNTOUCHED, JPEG_90])
    assert evaluation.mean_auc([UNTOUCHED]) > 0.9
    figures = {figure.degradation: figure.value for figure in card.validation}
    assert set(figures) == set(COLUMNS)
    # The kept weights are those that were measured.
    assert figures[JPEG_90] == pytest.approx(evaluation.mean_auc([JPEG_90]), abs=1e-3)
    assert card.calibration.bias != 0.0 and card.licence == "none"
    assert "12 photographs (camera-a, camera-b)" in card.training.data
    assert card.training.data.endswith("Made up.")
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [20, 40]


def test_a_detector_that_is_wrong_on_new_pictures_is_reported_but_not_calibrated(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upside_down = tmp_path / "data"
    (upside_down / "val").mkdir(parents=True)
    (upside_down / "train").symlink_to(data / "train")
    (upside_down / "val" / "0_real").symlink_to(data / "val" / "1_fake")
    (upside_down / "val" / "1_fake").symlink_to(data / "val" / "0_real")
    assert _train(upside_down, tmp_path / "run", "--steps", "40") == 1
    told = capsys.readouterr().err
    assert "no calibration fits" in told and "AUC" in told
    _, card = load_checkpoint(tmp_path / "run" / "tiny-ladeda.safetensors")
    assert card.calibration == Calibration() and card.validation == ()


def test_the_same_seed_gives_the_same_weights(data: Path, tmp_path: Path) -> None:
    flags = ("--steps", "3", "--seed", "7")
    for name in ("a", "b"):
        _train(data, tmp_path / name, *flags)
    first, second = ((tmp_path / n / "tiny-ladeda.safetensors").read_bytes() for n in "ab")
    assert first == second


def test_ctrl_c_keeps_the_best_step_and_finishes_its_card(data: Path, tmp_path: Path) -> None:
    words = [str(data), "--output", str(tmp_path / "run"), *FLAGS, "--workers", "1"]
    words += ["--steps", "100000", "--validate-every", "5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "training.direct", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for(tmp_path / "run" / "log.jsonl", process)
    # To the whole group, as a terminal sends it: the loading processes must not fail the parent.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "is kept as" in errors.replace("\n", " ")
    _, card = load_checkpoint(tmp_path / "run" / "tiny-ladeda.safetensors")
    assert len(card.validation) == 3 * len(COLUMNS)


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.1)


def test_a_run_never_overwrites_another(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    assert _train(data, tmp_path) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_missing_pictures_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(tmp_path / "absent", tmp_path / "run") == 1
    message = capsys.readouterr().err
    assert message.startswith("training.direct: error: ") and "is no folder" in message
    assert "Traceback" not in message
