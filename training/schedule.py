"""How the learning rate goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from training.settings import LoopSettings

_FIRST, _LAST = 1 / 25, 1e-4
"""Of one cycle: the first rate as a share of the highest, and the last as a share of the first."""


class RateSchedule(Protocol):
    """Sets the rate of an optimiser; its state is plain numbers."""

    def after_step(self) -> None: ...

    def after_validation(self, score: float) -> bool:
        """Take a score (higher is better); says whether the training is at its end."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def make_schedule(optimiser: Optimizer, settings: LoopSettings) -> RateSchedule:
    """The schedule that the settings name."""
    if settings.schedule == "plateau":
        return _Plateau(optimiser, settings)
    if settings.schedule == "one_cycle":
        return _ByStep(
            optimiser, partial(one_cycle, steps=settings.steps, warm_up=settings.warm_up)
        )
    steps = settings.steps if settings.schedule == "cosine" else math.inf
    return _ByStep(optimiser, lambda step: _between(1, 0, step / steps))


def one_cycle(step: int, steps: int, warm_up: float) -> float:
    """Share of the highest rate in a step: half a cosine up, and another down.

    Smith and Topin, Super-Convergence, 2017, with the figures that are usual: from 1/25 of the
    highest rate, in the end 1/10 000 of that.

    Args:
        step: counted from 0.
        steps: of the whole training.
        warm_up: share of them in which the rate rises.
    """
    top, last = max(warm_up * steps - 1, 0), steps - 1
    if step <= top:
        return _between(_FIRST, 1, step / top if top else 1)
    return _between(1, _FIRST * _LAST, min((step - top) / (last - top), 1) if last > top else 1)


def _between(first: float, last: float, share: float) -> float:
    """On half a cosine from one number to another."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


class _ByStep:
    """The first rate times what a function gives for the step."""

    def __init__(self, optimiser: Optimizer, factor: Callable[[int], float]) -> None:
        self._torch = LambdaLR(optimiser, factor)
        self.state_dict = self._torch.state_dict
        self.load_state_dict = self._torch.load_state_dict

    def after_step(self) -> None:
        self._torch.step()

    def after_validation(self, score: float) -> bool:
        return False


class _Plateau:
    """The rate times `factor` whenever `patience` validations brought no new best."""

    def __init__(self, optimiser: Optimizer, settings: LoopSettings) -> None:
        self._optimiser, self._least = optimiser, settings.least_rate
        self._torch = ReduceLROnPlateau(
            optimiser, "max", factor=settings.factor, patience=settings.patience, threshold=0.0
        )
        self.state_dict = self._torch.state_dict
        self.load_state_dict = self._torch.load_state_dict

    def after_step(self) -> None:
        pass

    def after_validation(self, score: float) -> bool:
        self._torch.step(score)
        return bool(self._optimiser.param_groups[0]["lr"] < self._least)
