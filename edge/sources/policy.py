"""Settings of live sources: time limits, reconnecting, the mode of a camera."""

from __future__ import annotations

from dataclasses import dataclass

from edge.types import PixelFormat

QUICK_TRIES, MEDIUM_TRIES = 5, 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a live source is waited for, in seconds.

    Attributes:
        open_s: after it, opening has failed.
        frame_s: after it without a frame, there is no signal; reported again at this interval.
        read_s: after it without a frame, the connection is dropped and opened again.
        max_age_s: in a burst that catches up, older frames than this are skipped.
        grace_s: what a call may take beyond its own limit before its thread is abandoned.
    """

    open_s: float = 10.0
    frame_s: float = 5.0
    read_s: float = 30.0
    max_age_s: float = 1.0
    grace_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """When a live source that failed is opened again: quickly at first, then more slowly.

    The first five tries are `quick_s` apart, those up to the tenth `medium_s`, all others
    `slow_s`. Wrong credentials wait `slow_s` from the start, since cameras lock accounts. Each
    wait varies by up to the share `jitter`, so that a hundred cameras behind one switch do not
    reconnect at the same moment.

    Attributes:
        retries: tries after the first, before it is given up; None for unlimited.
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
            locked_out: whether the credentials were refused.
        """
        if locked_out or failures > MEDIUM_TRIES:
            base = self.slow_s
        else:
            base = self.quick_s if failures <= QUICK_TRIES else self.medium_s
        return base * (1 + self.jitter * (2 * random - 1))


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What is requested from a camera; None leaves the choice to it.

    Attributes:
        width: in pixels; with `height`.
        height: in pixels; with `width`.
        fps: frames per second.
        pixel_format: of a CSI camera's frames; others give BGR.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    pixel_format: PixelFormat = "bgr"


# Immutable, so fit to be shared as defaults of arguments.
DEFAULT_LIMITS, DEFAULT_RECONNECT, DEFAULT_MODE = Limits(), ReconnectPolicy(), CameraMode()
