"""Samples that carry the crop from before its degradations as well, pixel on pixel."""

from __future__ import annotations

import numpy as np

from edge.types import Image
from training.degrade import Chain, Policy


class WithClean(Policy):
    """A policy whose chains give both crops: degraded, then clean."""

    def draw(self, rng: np.random.Generator) -> Chain:
        """A chain whose `crop` is uint8 [2, size, size, 3] BGR."""
        return _Both(steps=super().draw(rng).steps)


def resizes(policy: Policy) -> bool:
    """Whether a policy can draw a step that moves pixels to places between pixels."""
    return policy.resizes


class _Both(Chain):
    def crop(self, image: Image, size: int, at: tuple[float, float] = (0.5, 0.5)) -> Image:
        return np.stack([super().crop(image, size, at), self.clean_crop(image, size, at)])
