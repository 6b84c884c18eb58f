"""Live sources: cameras and streams that reconnect whatever happens to them.

Each capture has a reader thread of its own, which may block for any length of time:
`edge.sources.supervisor` decides when it has taken too long; then it is abandoned and another one
starts. Whoever polls never waits, and gets the newest frame only.
"""

from __future__ import annotations

import logging
import math
import random as randomness
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from typing_extensions import Self

from edge.errors import PatchwatchError, SourceError, SourceFault
from edge.sources.base import Capture, OpenCapture, Shot, SourceKind
from edge.sources.latest import BufferedFrame, LatestFrameBuffer
from edge.sources.policy import DEFAULT_LIMITS, DEFAULT_RECONNECT, Limits, ReconnectPolicy
from edge.sources.supervisor import SignalState, Silence, Supervisor
from edge.types import Frame

__all__ = ["Health", "LiveSource", "Silence"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_LEAVE_S = 1.0  # how long leaving waits for a capture to be closed, in seconds


@dataclass(frozen=True, slots=True)
class Health:
    """The condition of a live source at one moment.

    Attributes:
        state: of its connection.
        error: why there is no signal, in a sentence; None with a signal or while first opening.
        fault: what kind of failure that is.
        opens: captures started.
        failures: of them, those in a row that failed without a frame since.
        reconnects: how often frames came again from a new capture.
        received: frames that arrived.
        skipped: of them, those replaced by a newer one before they were taken, and those let go.
        old: of them, those skipped because of their age.
        corrupt: of them, those that could not be converted when they were taken.
        abandoned: threads abandoned now, each in a call that does not return.
        retry_in_s: seconds until it is opened again; None unless that is waited for.
    """

    state: SignalState
    error: str | None
    fault: SourceFault | None
    opens: int
    failures: int
    reconnects: int
    received: int
    skipped: int
    old: int
    corrupt: int
    abandoned: int
    retry_in_s: float | None


class LiveSource:
    """A camera or stream that is opened again and again; entered once, polled, never waited for.

    One thread polls; all else may be called from any. At `next_poll_s` a `poll` or `health` is due.
    `now` is the clock of arrivals; `fps` is announced by the newest capture, None until then.
    """

    kind: SourceKind = "live"
    length: None = None

    def __init__(
        self,
        name: str,
        open_capture: OpenCapture,
        limits: Limits = DEFAULT_LIMITS,
        retry: ReconnectPolicy = DEFAULT_RECONNECT,
        *,
        now: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self.name = name
        self.fps: float | None = None
        self._open_capture = open_capture
        self._now = now
        self._unix = unix
        self._lock = threading.Lock()
        self._supervisor = Supervisor(name, limits, retry, random)
        self._buffer = LatestFrameBuffer(limits.max_age_s)
        self._converter = _Converter(name, limits.frame_s)
        self._wakes: list[Callable[[], None]] = []
        self._reader: threading.Thread | None = None
        self._entered = False
        self._left = False
        self._reported = False  # that it was given up

    def __enter__(self) -> Self:
        """Start, and return at once: a camera may be absent."""
        with self._lock:
            if self._entered:
                raise RuntimeError("a live source is entered only once")
            self._entered = True
        self._act(self._supervisor.start)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop. A thread in a call that does not return closes its capture if it ever does."""
        with self._lock:
            self._left = True
            self._buffer.take()
            reader = self._reader
        if reader is not None:
            reader.join(_LEAVE_S)

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, when `poll` may have news before `next_poll_s`."""
        with self._lock:
            self._wakes.append(wake)

    def poll(self) -> Frame | Silence | None:
        """What is new: the newest frame not taken yet, converted here; or a silence, due when no
        frame came for as long as `limits` says, and at once where the very first capture fails.

        Raises:
            SourceError: it was given up for good; of the last failure's class.
            MissingDependency: the library that opens it is absent.
        """
        waiting = self._act(lambda _: self._buffer.take())
        if waiting is not None:
            return self._converter.convert(waiting, self._now())
        return self.poll_silence()

    def let_go(self) -> None:
        """Count the frame that was polled last as skipped: nobody judges it."""
        with self._lock:
            self._buffer.skipped += 1

    def poll_silence(self) -> Silence | None:
        """As `poll`, but leaves frames where they are."""
        self._act(lambda _: None)  # one may fall due this moment
        silence = self._act(lambda _: self._supervisor.take_silence())
        with self._lock:
            error = self._given_up()
            self._reported = error is not None
        if error is not None:
            raise error.with_traceback(None)  # else it would grow with each time
        return None if self._left else silence

    def _given_up(self) -> PatchwatchError | None:
        over = self._supervisor.over == "failed" and not (self.waiting or self._left)
        return self._supervisor.failure if over else None

    def next_poll_s(self) -> float:
        """When `poll` must be called though nothing woke, on the given clock; inf: never."""
        with self._lock:
            unreported = self._given_up() is not None and not self._reported
            if self.waiting or self._supervisor.silent or unreported:
                return self._now()
            next_s = None if self._left else self._supervisor.next_s
            return math.inf if next_s is None else next_s

    @property
    def ended(self) -> bool:
        """Whether a recording came to its end, and its last frame was taken."""
        with self._lock:
            return self._supervisor.over == "ended" and not self.waiting

    @property
    def waiting(self) -> bool:
        """Whether a frame waits to be taken."""
        return self._buffer.waiting is not None

    @property
    def received(self) -> int:
        """Frames that arrived so far."""
        return self._buffer.received

    def health(self) -> Health:
        """Its condition now."""
        self._act(lambda _: None)
        with self._lock:
            supervisor, buffer = self._supervisor, self._buffer
            problem = supervisor.problem
            return Health(
                state=supervisor.state,
                error=None if problem is None else str(problem),
                fault=None if problem is None else problem.fault,
                opens=supervisor.opens,
                failures=supervisor.failures,
                reconnects=supervisor.reconnects,
                received=buffer.received,
                skipped=buffer.skipped,
                old=buffer.old,
                corrupt=self._converter.corrupt,
                abandoned=supervisor.abandoned,
                retry_in_s=supervisor.retry_in_s(self._now()),
            )

    def _news(self) -> tuple[bool, bool, bool]:
        return self.waiting, self._supervisor.silent, self._supervisor.over is not None

    def _act(self, event: Callable[[float], T]) -> T:
        """Let something happen at this moment, and do what follows from it.

        The lock is not held while the code of others runs, which may take long, or ask us.
        """
        with self._lock:
            before = self._news()
            now_s = self._now()
            answer = event(now_s)
            number = None if self._left else self._supervisor.advance(now_s)
            if number is not None:
                self._start_reader(number, now_s)
            notes = self._supervisor.take_notes()
            new = any(b and not a for a, b in zip(before, self._news(), strict=True))
            wakes = tuple(self._wakes) if new else ()
        for level, text in notes:
            log.log(level, "%s", text)
        for wake in wakes:
            wake()
        return answer

    def _start_reader(self, number: int, now_s: float) -> None:
        # A daemon: a call that never returns must not keep the process alive.
        reader = threading.Thread(
            target=self._read, args=(number,), name="patchwatch-source", daemon=True
        )
        try:
            reader.start()
        except RuntimeError:  # there are too many in this process, or too little memory
            error = SourceError(f"{self.name}: the system gives no thread to read it with.")
            self._supervisor.failed(number, error, now_s)
            self._supervisor.released(number)
        else:
            self._reader = reader

    def _read(self, number: int) -> None:
        """The life of a reader thread."""
        capture = None
        try:
            capture = self._open_capture()
            going = self._act(partial(self._opened, number, capture))
            while going:
                # No name is given to the shot, which would hold it while the next is waited for.
                going = self._act(partial(self._arrived, number, capture.read()))
        except Exception as error:
            self._fail(number, error)
        if capture is not None:
            capture.close()
        self._act(lambda _: self._supervisor.released(number))

    def _opened(self, number: int, capture: Capture, now_s: float) -> bool:
        if self._left or not self._supervisor.opened(number, now_s):
            return False
        self.fps = capture.fps
        self._buffer.clock.reopened()
        return True

    def _arrived(self, number: int, shot: Shot | None, now_s: float) -> bool:
        if self._left or not self._supervisor.heeds(number):
            return False
        if shot is None:
            self._supervisor.finished(number, now_s)
            return False
        unix_s = self._unix() - max(0.0, now_s - shot.arrived_s)
        return self._supervisor.frame(number, now_s, fresh=self._buffer.put(shot, unix_s))

    def _fail(self, number: int, error: Exception) -> None:
        if not isinstance(error, PatchwatchError):
            # Its own words may hold the address, and so the password.
            error = SourceError(f"{self.name}: reading it failed ({type(error).__name__}).")
        # Without its history, which would keep alive what a dead capture held.
        error.__cause__ = error.__context__ = None
        bare = error.with_traceback(None)
        self._act(lambda now_s: self._supervisor.failed(number, bare, now_s))


class _Converter:
    """Converts frames as they are taken; logs changes of their size, counts corrupt ones."""

    def __init__(self, name: str, patience_s: float) -> None:
        self.corrupt, self._name, self._patience_s = 0, name, patience_s
        self._size_hw: tuple[int, int] | None = None
        self._blind_since_s: float | None = None

    def convert(self, waiting: BufferedFrame, now_s: float) -> Frame | Silence | None:
        """The frame; None if it is corrupt, and a silence where that lasts too long."""
        shot = waiting.shot
        try:
            image = shot.image()
        except Exception as error:
            return self._count_corrupt(error, now_s)
        frame = Frame(
            image,
            waiting.index,
            waiting.captured_at,
            self._name,
            waiting.pts_s,
            shot.pixel_format,
            shot.pixel_aspect,
        )
        self._blind_since_s = None
        before, self._size_hw = self._size_hw, frame.size_hw
        if before is not None and before != frame.size_hw:
            new, old = (f"{width}×{height}" for height, width in (frame.size_hw, before))
            log.info("%s changed its size to %s (was %s)", self._name, new, old)
        return frame

    def _count_corrupt(self, error: Exception, now_s: float) -> Silence | None:
        why = f"a frame cannot be converted ({type(error).__name__})"
        if isinstance(error, SourceError):
            why = str(error).rstrip(".")
        text = f"{self._name}: {why}"
        self.corrupt += 1
        if self.corrupt == 1:
            log.warning("%s; further ones are not logged", text)
        if self._blind_since_s is None:
            self._blind_since_s = now_s
        if now_s - self._blind_since_s < self._patience_s:
            return None
        self._blind_since_s = now_s
        return Silence(f"{text}.", "codec")
