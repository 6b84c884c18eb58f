"""When a live source is opened, waited for, abandoned, reopened and given up: decisions only.

    opening ──► streaming ◄──► stalled      a frame came; none came for `frame_s`
       │            │             │
       └────────────┴─────────────┴──► waiting ──► opening      a call failed, or took too long
                                          │
              stuck ◄─────────────────────┤     too many calls never returned: opens nothing
              failed ◄────────────────────┘     retries exhausted
    ended       from any of the first row: a recording came to its end

No thread, no clock: events and the time are arguments. An *attempt* is one capture, from the call
that opens it until it was closed; its number tells its events from those of an abandoned one.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge.errors import AuthError, PatchwatchError, SourceError, SourceFault, SourceTimeout
from edge.sources.faults import fell_silent, no_answer
from edge.sources.policy import Limits, ReconnectPolicy
from edge.words import counted

SignalState = Literal["opening", "streaming", "stalled", "waiting", "stuck", "ended", "failed"]

MOST_ABANDONED = 3  # threads of one source, each of which holds a socket or a device
STEADY_S = 60.0  # after running for this long a source has recovered: its next failure is news
_EACH, _EVERY = 5, 10


@dataclass(frozen=True, slots=True)
class Silence:
    """That no frame came: why, in a sentence, and what kind of failure that is."""

    error: str | None
    fault: SourceFault | None


_Call = Literal["open", "read", "close"]


@dataclass(slots=True)
class _Attempt:
    """The present capture: the call its thread is in, until when, and whether a frame came."""

    number: int
    doing: _Call
    until_s: float
    framed: bool = False


class Supervisor:
    """Follows one source. Not thread-safe; times are in seconds on a clock that never falls.

    Attributes:
        failure: the last one; None once a frame came, or if nothing failed yet.
        opens, failures, reconnects: as in `edge.sources.live.Health`.
        over: `ended` or `failed`, once it is final.
        silent: whether a silence is due, and was not taken yet.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        retry: ReconnectPolicy,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.failure: PatchwatchError | None = None
        self.opens, self.failures, self.reconnects = 0, 0, 0
        self.over: Literal["ended", "failed"] | None = None
        self.silent = False
        self._name, self._limits, self._retry, self._draw = name, limits, retry, draw
        self._attempt: _Attempt | None = None
        self._abandoned: set[int] = set()
        self._open_at_s: float | None = None
        self._silent_at_s = math.inf
        self._stalled, self._stuck = False, False
        self._frame_s: float | None = None
        self._log = _TroubleLog(name)

    def start(self, now_s: float) -> None:
        """Start; `advance` then opens the first capture."""
        self._open_at_s = now_s
        self._silent_at_s = now_s + self._limits.frame_s
        self._log.last_s = now_s

    @property
    def state(self) -> SignalState:
        """Where the source stands, as of the last `advance`."""
        if self.over is not None:
            return self.over
        if self._open_at_s is not None:
            return "stuck" if self._stuck else "waiting"
        if self._stalled:
            return "stalled"
        return "streaming" if self._attempt is not None and self._attempt.framed else "opening"

    @property
    def abandoned(self) -> int:
        """Abandoned threads that have not returned."""
        return len(self._abandoned)

    @property
    def problem(self) -> PatchwatchError | None:
        """Why there is no signal; None while there is one, or the first is still waited for."""
        if self._stuck:
            return SourceTimeout(
                f"{self._name}: {MOST_ABANDONED} calls to it never returned, and it is not opened "
                "again until one does. Restart the camera or this program."
            )
        return self._no_frame() if self._stalled else self.failure

    @property
    def next_s(self) -> float | None:
        """When `advance` must be called though nothing happens; None once it is over."""
        if self.over is not None:
            return None
        times = [self._silent_at_s]
        if self._attempt is not None:
            times.append(self._attempt.until_s)
        elif self._open_at_s is not None and not self._stuck:
            times.append(self._open_at_s)
        return min(times)

    def retry_in_s(self, now_s: float) -> float | None:
        """Seconds until the next try; None unless one is waited for."""
        if self._open_at_s is None or self._stuck:
            return None
        return max(0.0, self._open_at_s - now_s)

    def advance(self, now_s: float) -> int | None:
        """Let time pass, at any time and at `next_s`; the number of an attempt to start now."""
        if self.over is not None:
            return None
        if self._attempt is not None and now_s >= self._attempt.until_s:
            self._abandon(self._attempt, now_s)
        if self.over is None and now_s >= self._silent_at_s:
            self._fall_silent(now_s)
        return self._open(now_s)

    def opened(self, number: int, now_s: float) -> bool:
        """An attempt's capture is open; whether to read it, else it was abandoned."""
        attempt = self._current(number, "open")
        if attempt is not None:
            self._expect(attempt, "read", self._limits.read_s, now_s)
        return attempt is not None

    def heeds(self, number: int) -> bool:
        """Whether an attempt is the one whose frames are wanted."""
        return self._current(number, "read") is not None

    def frame(self, number: int, now_s: float, fresh: bool = True) -> bool:
        """A frame came; whether to go on. One not `fresh` is a sign of life, and no signal."""
        attempt = self._current(number, "read")
        if attempt is None:
            return False
        self._expect(attempt, "read", self._limits.read_s, now_s)
        self.failures = 0
        if fresh:
            self.reconnects += not attempt.framed and self._frame_s is not None
            attempt.framed = True
            self._frame_s = now_s
            self._silent_at_s = now_s + self._limits.frame_s
            self.failure, self.silent, self._stalled = None, False, False
            self._log.signal(now_s)
        return True

    def failed(self, number: int, error: PatchwatchError, now_s: float) -> None:
        """Opening or reading failed; what is no SourceError (a missing library) ends it."""
        attempt = self._current(number, "open", "read")
        if attempt is not None:
            self._expect(attempt, "close", 0.0, now_s)
            self._fail(error, now_s)

    def finished(self, number: int, now_s: float) -> None:
        """A recording came to its end; its capture is being closed."""
        attempt = self._current(number, "read")
        if attempt is not None:
            self._expect(attempt, "close", 0.0, now_s)
            self.over, self.silent = "ended", False

    def released(self, number: int) -> None:
        """An attempt's capture was closed, and its thread ends; perhaps late."""
        self._abandoned.discard(number)
        if self._attempt is not None and self._attempt.number == number:
            self._attempt = None

    def take_silence(self) -> Silence | None:
        """The silence that is due, if one is; it is due once."""
        if not self.silent:
            return None
        self.silent = False
        why = self.problem or self._no_frame()
        return Silence(str(why), why.fault)

    def take_notes(self) -> list[tuple[int, str]]:
        """What is to be logged since the last call: levels of `logging`, and sentences."""
        notes, self._log.notes = self._log.notes, []
        return notes

    def _current(self, number: int, *doing: _Call) -> _Attempt | None:
        """The present attempt, if it has this number and is in one of these calls."""
        attempt = self._attempt
        if attempt is None or attempt.number != number or attempt.doing not in doing:
            return None
        return attempt

    def _expect(self, attempt: _Attempt, doing: _Call, within_s: float, now_s: float) -> None:
        attempt.doing = doing
        attempt.until_s = now_s + within_s + self._limits.grace_s

    def _open(self, now_s: float) -> int | None:
        due = self.over is None and self._open_at_s is not None and now_s >= self._open_at_s
        if not due or self._attempt is not None:
            return None
        if len(self._abandoned) >= MOST_ABANDONED:
            if not self._stuck:
                self._stuck = True
                self._log.warn(str(self.problem).rstrip("."))
            return None
        self._stuck, self._open_at_s = False, None
        self.opens += 1
        self._attempt = _Attempt(self.opens, "open", now_s)
        self._expect(self._attempt, "open", self._limits.open_s, now_s)
        return self.opens

    def _abandon(self, attempt: _Attempt, now_s: float) -> None:
        self._abandoned.add(attempt.number)
        self._attempt = None
        if attempt.doing == "open":
            self._fail(no_answer(self._name, self._limits.open_s), now_s)
        elif attempt.doing == "read":
            self._fail(fell_silent(self._name, self._limits.read_s), now_s)

    def _fail(self, error: PatchwatchError, now_s: float) -> None:
        self.failures += 1
        self._stalled = False
        never_spoke = self.failure is None and self._frame_s is None
        self.failure = error
        most = self._retry.retries
        if not isinstance(error, SourceError):
            self.over, self.silent = "failed", False
        elif most is not None and self.failures > most:
            if most:
                times = counted(most, "retry", "retries")
                self.failure = type(error)(f"{error} Given up after {times}.")
            self.over, self.silent = "failed", False
        else:
            wait_s = self._retry.wait_s(self.failures, self._draw(), isinstance(error, AuthError))
            self._open_at_s = now_s + wait_s
            turn = f"retry {self.failures}" + (f" of {most}" if most is not None else "")
            what_next = f"retrying in {_seconds(wait_s)} ({turn})"
            self._log.trouble(f"{str(error).rstrip('.')}; {what_next}", error.fault)
            if never_spoke:  # no frame was ever here whose loss could be waited for
                self._silent_at_s = now_s

    def _fall_silent(self, now_s: float) -> None:
        self.silent = True
        self._silent_at_s = now_s + self._limits.frame_s
        reading = self._attempt is not None and self._attempt.framed and self._open_at_s is None
        if reading and not self._stalled:
            self._stalled = True
            self._log.trouble(str(self._no_frame()).rstrip("."), "timeout")

    def _no_frame(self) -> SourceTimeout:
        return SourceTimeout(f"{self._name}: no frame for {self._limits.frame_s:g} s.")


class _TroubleLog:
    """Logs each change once; of failures and stalls the first five, each tenth and any new kind."""

    def __init__(self, name: str) -> None:
        self.notes: list[tuple[int, str]] = []
        self._name, self._troubles = name, 0
        self._logged: set[SourceFault] = set()
        self._ever, self._lost, self._down = False, False, False  # framed; lost since; logged
        self._up_since_s = self.last_s = 0.0  # when a frame came, or the source was started

    def signal(self, now_s: float) -> None:
        """A frame came."""
        if self._down:
            what = "back" if self._ever else "first frame"
            away = _seconds(now_s - self.last_s)
            self.notes.append((logging.INFO, f"{self._name}: {what} after {away}"))
        if self._lost or not self._ever:
            self._up_since_s = now_s
        self._down, self._lost, self._ever = False, False, True
        self.last_s = now_s

    def trouble(self, text: str, fault: SourceFault) -> None:
        """A failure or a stall."""
        was_steady = self._ever and self.last_s - self._up_since_s >= STEADY_S
        if not self._lost and was_steady:
            self._troubles, self._logged = 0, set()
        self._lost = True
        self._troubles += 1
        few = self._troubles <= _EACH or self._troubles % _EVERY == 0
        if few or fault not in self._logged:
            self.warn(text)
        self._logged.add(fault)

    def warn(self, text: str) -> None:
        """Log it in any case."""
        self._down = True
        self.notes.append((logging.WARNING, text))


def _seconds(time_s: float) -> str:
    return f"{time_s:.0f} s" if time_s >= 10 else f"{round(time_s, 1):g} s"
