from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LRScheduler

from edge.errors import ModelError, SinkError, UsageError
from tests.training.toy_method import ToyTraining, train
from training.methods.base import make_schedule
from training.settings import LoopSettings
from training.trainer import LAST, LOG, Rows

SETTINGS = {"name": "toy", "steps": 14, "batch": 4, "validate_every": 5, "rate": 0.01}
DEMANDING = {"schedule": "plateau", "patience": 0, "ema": 0.9, "clip_norm": 0.5}


def settings(**changes: object) -> LoopSettings:
    return LoopSettings.model_validate({**SETTINGS, "save_every_s": 1e6, **changes})


def program(folder: Path, *words: str, **changes: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.toy_method", str(folder), *words],
        env=os.environ | {"TOY": settings(**changes).model_dump_json()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / LOG).open(newline="") as file:
        return [{key: float(x) for key, x in row.items()} for row in csv.DictReader(file)]


def assert_same_run(first: Path, second: Path, bound: float = 1e-6) -> None:
    """All figures of all validations agree; without dropout there is no noise but rounding."""
    ours, theirs = rows(first), rows(second)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=bound, abs=bound)
    left, right = (load_file(folder / "toy.safetensors") for folder in (first, second))
    assert all(torch.allclose(left[key], right[key], atol=bound) for key in left)


def test_a_killed_run_resumes_to_the_same_figures(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(whole, settings(**DEMANDING))
    process = program(broken, "1", save_every_s=0, **DEMANDING)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "9":
        assert process.poll() is None
    process.kill()
    process.communicate()
    steps: list[int] = []
    train(broken, settings(**DEMANDING), resume=True, on_loss=steps.append)
    assert steps[0] >= 5 and steps[-1] == 13  # at most one interval was lost
    assert_same_run(whole, broken)


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "schedule": "cosine"}])
def test_a_stop_signal_saves_between_two_steps(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(whole, settings(**changes))

    sent: list[int] = []

    def stop(step: int) -> None:
        if step == 7 and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = train(broken, settings(**changes), on_loss=stop)
    assert stopped.code == 128 + signal.SIGTERM and stopped.steps == 8
    steps: list[int] = []
    assert train(broken, settings(**changes), resume=True, on_loss=steps.append).code == 0
    assert steps[0] == 8
    assert_same_run(whole, broken)


def test_a_stop_in_a_validation_takes_effect_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        judge = ToyTraining.judge

        def interrupted(self: ToyTraining, item: int) -> Any:
            if item == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return judge(self, item)

        patch.setattr(ToyTraining, "judge", interrupted)
        stopped = train(tmp_path, settings())
    assert (stopped.code, stopped.steps, stopped.best_step) == (130, 5, 5)
    assert train(tmp_path, settings(), resume=True).code == 0
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 14]


def test_a_caller_can_end_it_and_it_goes_on_where_it_was(tmp_path: Path) -> None:
    class _PrunedError(Exception):
        pass

    seen: list[float] = []

    def prune(rows: Rows) -> None:
        seen[:] = [row["step"] for row in rows]
        raise _PrunedError

    for _ in range(2):
        with pytest.raises(_PrunedError):
            train(tmp_path, settings(), resume=bool(seen), on_validation=prune)
    assert seen == [5, 10]


def test_an_ended_run_that_is_resumed_does_nothing(tmp_path: Path) -> None:
    train(tmp_path, settings(steps=5))
    steps: list[int] = []
    fitted = train(tmp_path, settings(steps=5), resume=True, on_loss=steps.append)
    assert not steps and fitted.best_step == 5


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, settings(steps=5))
    before = (tmp_path / LAST).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(SinkError, match=r"last\.ckpt cannot be written: File too large"):
            train(tmp_path, settings(steps=9, save_every_s=0), resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / LAST).read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "plateau", "patience": 0, "least_rate": 0.0095},
        {"early_stop": 1, "schedule": "constant"},
    ],
)
def test_a_score_that_stalls_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(ToyTraining, "measured", lambda self, logits: (0.5, {}))
    chosen = settings(steps=10_000, validate_every=1, **changes)
    assert train(tmp_path, chosen).steps == 2 == train(tmp_path, chosen, resume=True).steps


def test_the_mean_of_the_weights_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    train(tmp_path / "own", settings(steps=1, validate_every=1))
    train(tmp_path / "mean", settings(steps=3, validate_every=3, ema=0.999))
    first, mean = (load_file(tmp_path / n / "toy.safetensors") for n in ("own", "mean"))
    assert all(torch.allclose(first[key], mean[key], atol=1e-4) for key in first)
    state = torch.load(tmp_path / "mean" / LAST, weights_only=True)
    assert not torch.allclose(state["current_model_state"]["model.0.weight"], mean["0.weight"])


def test_a_step_in_parts_is_the_same_step(tmp_path: Path) -> None:
    train(tmp_path / "whole", settings())
    train(tmp_path / "parts", settings(accumulate=2))
    assert_same_run(tmp_path / "whole", tmp_path / "parts", 1e-4)


def test_bf16_trains(tmp_path: Path) -> None:
    assert train(tmp_path, settings(precision="bf16")).best_score > 1


def test_fp16_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        train(tmp_path, settings(precision="fp16"))


def test_a_loss_that_is_no_number_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = lambda self, batch: self.model(batch["frames"]).sum() * torch.nan  # noqa: E731
    monkeypatch.setattr(ToyTraining, "loss", broken)
    with pytest.raises(ModelError, match="the loss is nan at step 1"):
        train(tmp_path, settings())


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, b"", r"no last\.ckpt to go on from"),
        (LAST, b"nonsense", r"last\.ckpt cannot be resumed"),
    ],
)
def test_what_cannot_be_resumed_is_a_sentence(
    tmp_path: Path, file: str | None, content: bytes, message: str
) -> None:
    if file:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        train(tmp_path, settings(), resume=True)


def test_a_checkpoint_of_another_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, settings(steps=5))
    monkeypatch.setattr("tests.training.toy_method.SIDE", 10)
    with pytest.raises(ModelError, match=r"last\.ckpt cannot be resumed"):
        train(tmp_path, settings(), resume=True)


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one_and_a_killed_one_resumes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    chosen: dict[str, Any] = {"save_every_s": 0, "schedule": "cosine"}
    train(one, settings(**chosen))
    process = program(two, "2", **chosen)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "7":  # of either
        assert process.poll() is None, process.communicate()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    other = next(int(pid) for pid in children if b"toy_method" in _command(pid))
    os.kill(other, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(rows(two)) == 1
    resumed = program(two, "2", "--resume", **chosen)
    out, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    assert 5 <= int(out.split()[0]) < 9
    assert_same_run(one, two, 1e-4)


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def rates(**changes: object) -> list[float]:
    """Of each step."""
    chosen = settings(**changes)
    adam = Adam(nn.Linear(1, 1).parameters(), lr=chosen.rate)
    schedule, found = make_schedule(adam, chosen), []
    for _ in range(chosen.steps):
        found.append(adam.param_groups[0]["lr"])
        adam.step()
        if isinstance(schedule, LRScheduler):
            schedule.step()
    return found


def test_the_rate_goes_on_as_its_schedule_says() -> None:
    assert rates(schedule="constant") == [0.01] * 14
    cosine = rates(schedule="cosine")
    assert cosine[0] == 0.01 and cosine[7] == pytest.approx(0.005) and cosine[13] < 2e-4
    cycle = rates(schedule="one_cycle", warm_up=0.5, steps=20)
    assert cycle[0] == pytest.approx(0.01 / 25) and cycle[9] == pytest.approx(0.01)
    assert cycle[-1] == pytest.approx(0.01 / 25 / 1e4)
    assert rates(schedule="one_cycle", warm_up=0, steps=100)[0] == pytest.approx(0.01, rel=1e-3)
    assert len(rates(schedule="one_cycle", warm_up=0.5, steps=2)) == 2
