"""Settings of sources: time limits, reconnecting, the mode of a camera, parts of a recording."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edge.schema import Flag, Strict
from edge.types import PixelFormat

QUICK_TRIES, MEDIUM_TRIES = 5, 10
DEVICE = re.compile(r"/dev/video(\d+)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)?\s*-\s*(\d+(?:\.\d+)?)?")


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


class ReconnectPolicy(Strict):
    """When a live source that failed is opened again: quickly at first, then more slowly.

    Wrong credentials wait `slow_s` from the start, since cameras lock accounts. The jitter keeps a
    hundred cameras behind one switch from reconnecting at the same moment.
    """

    retries: Annotated[int | None, Flag("--retries", "N")] = Field(
        default=None,
        ge=0,
        description="Reconnect attempts in a row until a source is given up (default: unlimited).",
    )
    quick_s: float = Field(default=1.0, gt=0, description="Wait before attempts 1 to 5.")
    medium_s: float = Field(default=5.0, gt=0, description="Wait before attempts 6 to 10.")
    slow_s: float = Field(
        default=30.0, gt=0, description="Wait before later attempts, and after wrong credentials."
    )
    jitter: float = Field(default=0.1, ge=0, le=1, description="Share by which a wait varies.")

    def wait_s(self, failures: int, random: float, locked_out: bool = False) -> float:
        """Seconds before the next try, after so many that failed in a row (from 1).

        `random` is drawn evenly from 0..1; `locked_out` says that the credentials were refused.
        """
        if locked_out or failures > MEDIUM_TRIES:
            base = self.slow_s
        else:
            base = self.quick_s if failures <= QUICK_TRIES else self.medium_s
        return base * (1 + self.jitter * (2 * random - 1))


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What is requested from a camera; None leaves the choice to it. A width only with a height.

    Only a CSI camera gives another `pixel_format` than BGR.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    pixel_format: PixelFormat = "bgr"


RtspTransport = Literal["auto", "tcp", "udp"]
"""How RTSP sends its packets: `auto` takes TCP, which loses none, and UDP where TCP is refused."""

CSI_HW = (720, 1280)
"""Height and width of a CSI camera's frames where none are requested."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which frames of a recording are wanted: every Nth, from `begin_s` up to before `end_s`."""

    every: int = 1
    begin_s: float = 0.0
    end_s: float = math.inf

    @classmethod
    def parse(cls, every: int, seconds: str | None) -> Selection:
        """From `A-B` in seconds, where either end may be left out.

        Raises:
            ValueError: anything else; says what was expected.
        """
        match = _SECONDS.fullmatch(seconds or "-")
        begin_s, end_s = (float(match[1] or 0), float(match[2] or math.inf)) if match else (1, 0)
        if begin_s >= end_s:
            raise ValueError(
                f"expected A-B in seconds, such as 90-120, or 90- to the end, found {seconds!r}."
            )
        return cls(every, begin_s, end_s)

    def count(self, length: int | None, fps: float | None) -> int | None:
        """How many frames of a recording those are; None where that is not known."""
        if length is None or (self != Selection(self.every) and not fps):
            return None
        begin, end = (self.begin_s * fps, self.end_s * fps) if fps else (0, math.inf)
        return max(0, math.ceil((min(length, end) - begin) / self.every))


# Immutable, so fit to be shared as defaults of arguments.
DEFAULT_LIMITS, DEFAULT_RECONNECT, DEFAULT_MODE = Limits(), ReconnectPolicy(), CameraMode()
ALL_FRAMES = Selection()
