"""Samples that carry the crop from before its degradations as well, pixel on pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.types import Image
from training.degrade import Chain, Policy
from training.degrade.chain import GRID, Clip, Jpeg, Resize, Step, Webp


class WithClean(Policy):
    """A policy whose chains give both crops: degraded, then clean.

    The clean one has been cut and moved as the degraded one, and nothing else. There is none where
    a step resizes, so such a policy must not (`resizes`).
    """

    def draw(self, rng: np.random.Generator) -> Chain:
        """A chain whose `crop` is uint8 [2, size, size, 3] BGR."""
        return _Both(steps=super().draw(rng).steps)


def resizes(policy: Policy) -> bool:
    """Whether a policy can draw a step that moves pixels to places between pixels."""
    single = policy.untouched + policy.two < 1 and policy.single.get("resize", 0) > 0
    return single or (
        policy.two > 0
        and any(pair.weight > 0 and "resize" in (pair.first, pair.then) for pair in policy.pairs)
    )


class _Both(Chain):
    def crop(self, image: Image, size: int, at: tuple[float, float] = (0.5, 0.5)) -> Image:
        clean = _Moves(self.steps).crop(image, size, at)
        return np.stack([super().crop(image, size, at), clean])


class _Moves:
    """A chain's cuts and windows without its degradations; whatever it does not know stays."""

    def __init__(self, steps: Sequence[Step]) -> None:
        silent = tuple(_Move(step) for step in steps)
        self._chain = Chain.model_construct(steps=silent)

    def crop(self, image: Image, size: int, at: tuple[float, float]) -> Image:
        return self._chain.crop(image, size, at)


class _Move:
    def __init__(self, step: Step) -> None:
        assert not isinstance(step, Resize)
        self._step = step
        self.needed = step.needed

    def __call__(self, image: Image) -> Image:
        step = self._step
        if isinstance(step, Clip):
            image = _window(image, step.moves[step.taken], max(map(max, step.moves)))
        if isinstance(step, Clip | Jpeg | Webp):
            image = _window(image, step.grid, GRID - 1)
        return image


def _window(image: Image, origin: tuple[int, int], less: int) -> Image:
    """A part that begins at `origin` and has `less` fewer rows and columns."""
    (top, left), (height, width) = origin, image.shape[:2]
    return image[top : top + height - less, left : left + width - less]
