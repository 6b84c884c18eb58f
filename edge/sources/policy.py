"""What a live source is told: its time limits, when it tries again, what a camera is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from edge.types import PixelFormat

QUICK_TRIES, MEDIUM_TRIES = 5, 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a live source is waited for, in seconds.

    Attributes:
        open_s: after it, opening has failed.
        frame_s: after it without a frame, there is no signal; said again after as long again.
        read_s: after it without a frame, the stream is given up and opened anew.
        max_age_s: a frame older than this, in a burst that catches up, is passed over.
        grace_s: what a call may take beyond its own limit before its thread is given up.
    """

    open_s: float = 10.0
    frame_s: float = 5.0
    read_s: float = 30.0
    max_age_s: float = 1.0
    grace_s: float = 1.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a live source that failed is opened again: quickly at first, then ever more slowly.

    The first five tries are `quick_s` apart, those up to the tenth `medium_s`, all others
    `slow_s`. Wrong credentials are tried at `slow_s` from the first on, since cameras lock
    accounts. Each wait is longer or shorter by up to the share `jitter`, so that a hundred
    cameras behind one switch do not come back in one moment.

    Attributes:
        retries: tries after the first, before it is given up; None for ever.
        quick_s: seconds before each of the first five tries.
        medium_s: seconds before each of the next five.
        slow_s: seconds before every other.
        jitter: share of a wait, 0..1.
    """

    retries: int | None = None
    quick_s: float = 1.0
    medium_s: float = 5.0
    slow_s: float = 30.0
    jitter: float = 0.1

    def wait_s(self, failures: int, random: float, locked_out: bool = False) -> float:
        """Seconds before the next try.

        Args:
            failures: tries that failed in a row, from 1.
            random: drawn evenly from 0..1.
            locked_out: whether it was the credentials.
        """
        if locked_out or failures > MEDIUM_TRIES:
            base = self.slow_s
        else:
            base = self.quick_s if failures <= QUICK_TRIES else self.medium_s
        return base * (1 + self.jitter * (2 * random - 1))


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What is asked of a camera; None leaves the choice to it.

    Attributes:
        width: of the picture, in pixels; with `height`.
        height: of the picture, in pixels; with `width`.
        fps: frames per second.
        pixel_format: of a CSI camera's frames; others give BGR.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    pixel_format: PixelFormat = "bgr"


# Immutable, and so fit to be shared as defaults of arguments.
USUAL_LIMITS, USUAL_RETRY, USUAL_MODE = Limits(), RetryPolicy(), CameraMode()
