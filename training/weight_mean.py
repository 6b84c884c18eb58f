"""The exponential running mean of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightMean:
    """mean ← decay · mean + (1 − decay) · weight after each step; starts as the first weights.

    Whole numbers, such as a batch norm's count of batches, are taken over as they are.

    Args:
        model: whose weights and buffers are followed.
        decay: in 0..1, near 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._mean = _copy(model.state_dict())

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of now."""
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self._mean[key].lerp_(value, 1 - self._decay)
            else:
                self._mean[key].copy_(value)

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Let the model hold the mean for a while."""
        own = _copy(model.state_dict())
        model.load_state_dict(self._mean)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The mean of each weight and buffer."""
        return self._mean

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a mean that was saved; each value keeps its layout and device here."""
        for key, value in state.items():
            self._mean[key].copy_(value)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in state.items()}
