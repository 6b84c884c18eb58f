"""Whose frame the model sees next: where there are too many, each camera skips the same share."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MEMORY_S = 20.0
"""Frames count for about so long: a camera that was away has no claim on what it missed."""

STARVED_S = 1.0
"""A camera that was not seen for so long comes first, whatever its share: of one that gives a frame
in five seconds none is skipped, which costs the others next to nothing."""


@dataclass(slots=True)
class _Account:
    """Frames that arrived and that were served, both fading with time."""

    arrived: float = 0.0
    served: float = 0.0
    at_s: float = 0.0
    last_s: float = -math.inf

    def fade(self, now_s: float) -> None:
        left = math.exp(-max(0.0, now_s - self.at_s) / MEMORY_S)
        self.arrived, self.served, self.at_s = self.arrived * left, self.served * left, now_s

    @property
    def share(self) -> float:
        """Share of the arrived frames that were served."""
        return self.served / self.arrived if self.arrived > 0 else 0.0


class Rota(Generic[K]):
    """Chooses by the share of its frames that each camera has had seen lately, the least first.

    So a camera of 5 frames per second and one of 30 both skip, say, half; but each is seen once in
    `STARVED_S` where that is possible. Not thread-safe; times are in seconds on any clock that does
    not fall.
    """

    def __init__(self) -> None:
        self._accounts: dict[K, _Account] = {}

    def arrived(self, camera: K, frames: int, now_s: float) -> None:
        """Count frames that a camera gave since it was last counted."""
        account = self._accounts.setdefault(camera, _Account(at_s=now_s))
        account.fade(now_s)
        account.arrived += frames

    def choose(self, ready: Sequence[K], most: int, now_s: float) -> list[K]:
        """The cameras whose newest frame is seen now, in that order.

        Args:
            ready: those that have one; each was counted by `arrived` before.
            most: at most so many.
            now_s: the time.
        """
        for camera in ready:
            self._accounts.setdefault(camera, _Account(at_s=now_s)).fade(now_s)
        chosen = sorted(ready, key=lambda camera: self._claim(camera, now_s))[:most]
        for camera in chosen:
            account = self._accounts[camera]
            account.served += 1
            account.last_s = now_s
        return chosen

    def forget(self, camera: K) -> None:
        """A camera that is gone."""
        self._accounts.pop(camera, None)

    def _claim(self, camera: K, now_s: float) -> tuple[bool, float, float]:
        account = self._accounts[camera]
        return now_s - account.last_s < STARVED_S, account.share, account.last_s
