from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file

from edge.errors import ModelError, SinkError, UsageError
from tests.training.toy_objective import ToyObjective
from training.loop import Figures, Trainer
from training.run_state import STATE
from training.settings import LoopSettings, Machine

SETTINGS = {"name": "toy", "steps": 14, "batch": 4, "validate_every": 5, "rate": 0.01}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the programs here have: on another number of threads the last bits differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings(**changes: object) -> LoopSettings:
    return LoopSettings.model_validate({**SETTINGS, "save_every_s": 1e6, **changes})


def trainer(
    folder: Path,
    resume: bool = False,
    on_loss: Callable[[float], None] = lambda loss: None,
    **changes: object,
) -> Trainer:
    chosen = settings(**changes)
    torch.manual_seed(chosen.seed)
    objective = ToyObjective(chosen.seed, on_loss)
    return Trainer(objective, chosen, folder, Console(stderr=True), Machine("cpu", 0), resume)


def program(folder: Path, **changes: object) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy_objective", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(settings(**changes).model_dump_json())
    process.stdin.close()
    process.stdin = None
    return process


def stopped_after(process: subprocess.Popen[str], steps: int, number: int) -> str:
    """Send a signal when so many losses were printed; gives what it said."""
    assert process.stdout is not None
    for _ in range(steps):
        assert process.stdout.readline()
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def assert_same_run(first: Path, second: Path) -> None:
    """Best model, last state and log agree to the last bit."""
    for name in ("toy.safetensors", STATE):
        ours, theirs = load_file(first / name), load_file(second / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert (first / "log.jsonl").read_text() == (second / "log.jsonl").read_text()


DEMANDING: dict[str, Any] = {"schedule": "plateau", "patience": 0, "ema": 0.9, "clip_norm": 0.5}


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    assert trainer(whole, **DEMANDING).fit() == 0
    process = program(broken, save_every_s=0, **DEMANDING)
    stopped_after(process, 9, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    losses: list[float] = []
    assert trainer(broken, resume=True, on_loss=losses.append, **DEMANDING).fit() == 0
    assert 5 <= len(losses) < 12  # it did not begin anew
    assert_same_run(whole, broken)


def test_a_stop_signal_saves_the_state(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    trainer(whole, schedule="cosine", steps=600, validate_every=600).fit()
    changes: dict[str, Any] = {"schedule": "cosine", "steps": 600, "validate_every": 600}
    process = program(broken, **changes)
    errors = stopped_after(process, 5, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the state is saved" in errors and "Traceback" not in errors
    assert trainer(broken, resume=True, **changes).fit() == 0
    assert_same_run(whole, broken)


class _StoppedValidation(ToyObjective):
    def validate(self, progress: Progress) -> tuple[float, Figures]:
        os.kill(os.getpid(), signal.SIGINT)
        return super().validate(progress)


def test_a_stop_in_a_validation_repeats_it(tmp_path: Path) -> None:
    chosen = settings()
    torch.manual_seed(chosen.seed)
    objective = _StoppedValidation(chosen.seed)
    run = Trainer(objective, chosen, tmp_path, Console(stderr=True), Machine("cpu", 0))
    assert run.fit() == 130 and run.best.step == 0
    resumed = trainer(tmp_path, resume=True)
    assert resumed.fit() == 0
    log = (tmp_path / "log.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in log]
    assert steps == [5, 10, 14] and resumed.best.step > 0


def test_a_full_disk_is_one_sentence_and_leaves_the_last_state(tmp_path: Path) -> None:
    trainer(tmp_path, steps=5).fit()
    before = (tmp_path / STATE).read_bytes()
    longer = trainer(tmp_path, resume=True, steps=7)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(
            SinkError, match=r"state\.safetensors cannot be written: File too large"
        ):
            longer.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / STATE).read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))


def test_the_plateau_ends_the_training(tmp_path: Path) -> None:
    run = trainer(
        tmp_path, schedule="plateau", patience=0, least_rate=0.0095, rate=0.01,
        validate_every=1, steps=10_000,
    )  # fmt: skip
    assert run.fit() == 0
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) < 10_000


def test_bf16_trains(tmp_path: Path) -> None:
    assert trainer(tmp_path, precision="bf16").fit() == 0
    assert list((tmp_path / "tensorboard").iterdir())


def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        trainer(tmp_path, precision="fp16")


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run._objective.model[5].bias.data.fill_(float("nan"))  # type: ignore[index]
    with pytest.raises(ModelError, match="the loss is nan at step 1"):
        run.fit()


def test_a_folder_without_a_state_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no state\.safetensors to go on from"):
        trainer(tmp_path, resume=True)


def test_a_state_of_another_training_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).fit()
    with pytest.raises(ModelError, match="no state of this training"):
        trainer(tmp_path, resume=True, ema=0.9)


def test_a_broken_state_is_told(tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="is no saved state"):
        trainer(tmp_path, resume=True)


def test_another_number_of_threads_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer(tmp_path).fit()
    torch.set_num_threads(2)
    trainer(tmp_path, resume=True)
    assert "saved with 1 threads" in capsys.readouterr().err
