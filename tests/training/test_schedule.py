from __future__ import annotations

import math

import pytest
import torch

from training.schedule import RateSchedule, make_schedule
from training.settings import LoopSettings


def _made(**changes: object) -> tuple[torch.optim.Optimizer, RateSchedule]:
    settings = LoopSettings.model_validate({"name": "a", "steps": 10, "rate": 1.0, **changes})
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return optimiser, make_schedule(optimiser, settings)


def _rates(steps: int, **changes: object) -> list[float]:
    optimiser, schedule = _made(**changes)
    rates = []
    for _ in range(steps):
        rates.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.after_step()
    return rates


def _one_cycle(steps: int, warm_up: float) -> list[float]:
    optimiser, schedule = _made(schedule="one_cycle", steps=steps, warm_up=warm_up)
    rates = []
    for _ in range(steps):
        rates.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.after_step()
    return rates


def test_constant_stays_and_cosine_falls_to_nothing() -> None:
    assert _rates(10) == [1.0] * 10
    expected = [0.5 + 0.5 * math.cos(math.pi * step / 10) for step in range(11)]
    assert _rates(11, schedule="cosine") == pytest.approx(expected)


def test_plateau_falls_when_validation_stalls_and_ends_below_the_least() -> None:
    optimiser, schedule = _made(schedule="plateau", patience=1, factor=0.5, least_rate=0.3)
    ended = []
    for score in (0.5, 0.6, 0.6, 0.6, 0.7, 0.1, 0.1):
        ended.append(schedule.after_validation(score))
        schedule.after_step()
    assert float(optimiser.param_groups[0]["lr"]) == 0.25
    assert ended == [False] * 6 + [True]


@pytest.mark.parametrize(("steps", "warm_up"), [(40, 0.3), (25, 0.5), (10, 0.45)])
def test_one_cycle_is_that_of_the_library(steps: int, warm_up: float) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    library = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.0, steps, pct_start=warm_up, cycle_momentum=False
    )
    expected = []
    for _ in range(steps):
        expected.append(library.get_last_lr()[0])
        optimiser.step()
        library.step()
    found = _one_cycle(steps, warm_up)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0] == pytest.approx(0.04) and found[-1] == pytest.approx(4e-6)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.3), (2, 0.5), (3, 0.0), (1, 0.9)])
def test_one_cycle_takes_the_shortest_trainings(steps: int, warm_up: float) -> None:
    rates = _one_cycle(steps, warm_up)
    assert all(0 < rate <= 1 for rate in rates) and max(rates) == 1
