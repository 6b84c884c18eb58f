"""How the learning rate goes on."""

from __future__ import annotations

import math
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from training.settings import LoopSettings


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
    return _ByStep(optimiser, settings)


class _ByStep:
    """Constant, or half a cosine from the first rate to zero."""

    def __init__(self, optimiser: Optimizer, settings: LoopSettings) -> None:
        steps = settings.steps if settings.schedule == "cosine" else math.inf
        self._torch = LambdaLR(optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
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
