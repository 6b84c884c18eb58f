"""Whose frames the model takes next, and how many at once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edge.backends.base import MAX_BATCH, Backend, FrameBackend
from edge.detector import Detector

MEMORY_S = 20.0
"""Frames count for about this long: a camera that was away has no claim on what it missed."""

STARVED_S = 1.0
"""A camera that was not served for this long comes first, whatever its share: of one that gives a
frame in five seconds none is skipped, which costs the others next to nothing."""

_TRIAL = 4
_PAYS = 0.85
"""A batch pays if it costs less than this share of as many single frames."""


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


class Scheduler:
    """Chooses the camera of whose frames the smallest share was served lately.

    So a camera of 5 frames per second and one of 30 both skip, say, half; but each is served once
    in `STARVED_S` where that is possible. Not thread-safe; times are in seconds on any clock that
    does not fall.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def arrived(self, camera: str, frames: int, now_s: float) -> None:
        """Count frames that a camera gave since it was last counted."""
        account = self._accounts.setdefault(camera, _Account(at_s=now_s))
        account.fade(now_s)
        account.arrived += frames

    def choose(self, ready: Sequence[str], most: int, now_s: float) -> list[str]:
        """The cameras, of those that are ready, whose newest frame is served now, in that order."""
        for camera in ready:
            self._accounts.setdefault(camera, _Account(at_s=now_s)).fade(now_s)
        chosen = sorted(ready, key=lambda camera: self._claim(camera, now_s))[:most]
        for camera in chosen:
            account = self._accounts[camera]
            account.served += 1
            account.last_s = now_s
        return chosen

    def keep(self, cameras: Sequence[str]) -> None:
        """Forget all others."""
        self._accounts = {name: self._accounts[name] for name in cameras if name in self._accounts}

    def _claim(self, camera: str, now_s: float) -> tuple[bool, float, float]:
        account = self._accounts[camera]
        share = account.served / account.arrived if account.arrived > 0 else 0.0
        return now_s - account.last_s < STARVED_S, share, account.last_s


def batch_that_pays(detector: Detector) -> int:
    """How many frames to give to the model at once: all that it takes, or one.

    On a CPU a batch usually costs as much as its frames one by one, and then only makes them old;
    so both are timed, where the region fixes the size.
    """
    if isinstance(detector.backend, FrameBackend):
        return MAX_BATCH
    side = detector.region.size
    if not side or detector.region.kind == "tiles":
        return 1
    one, many = (_least_s(detector.backend, side, batch) for batch in (1, _TRIAL))
    return MAX_BATCH if many < _PAYS * _TRIAL * one else 1


def _least_s(backend: Backend, side: int, batch: int) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        backend.warm_up(side, side, batch)
        times.append(time.perf_counter() - began)
    return min(times)
