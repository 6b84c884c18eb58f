"""What goes on by itself: streams and cameras that come back whatever happens to them.

Each capture is opened, read and closed on a thread of its own, which may block for as long as it
likes: `edge.sources.supervisor` decides when it has taken too long, and then it is left behind and
another is begun. Whoever takes the frames never waits, and gets the newest only.
"""

from __future__ import annotations

import logging
import math
import random as randomness
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar

from typing_extensions import Self

from edge.errors import PatchwatchError, SourceError, SourceFault
from edge.sources.base import SourceKind
from edge.sources.capture import Capture, OpenCapture, Shot
from edge.sources.policy import USUAL_LIMITS, USUAL_RETRY, Limits, RetryPolicy
from edge.sources.slot import Slot, Waiting
from edge.sources.supervisor import SignalState, Silence, Supervisor, fault_of
from edge.sources.timer import SHARED
from edge.types import Frame

__all__ = ["Clock", "Health", "LiveSource", "Silence", "SystemClock"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_LEAVE_S = 1.0
"""How long leaving waits for a capture to be closed, in seconds."""

_LONGEST_REST_S = 60.0
"""No wait may last for ever."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds, never falling; the clock on which captures say when a frame arrived."""
        ...

    def unix(self) -> float:
        """Unix time in seconds."""
        ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        """Seconds on the clock of `time.monotonic`."""
        return time.monotonic()

    def unix(self) -> float:
        """Unix time in seconds."""
        return time.time()


SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Health:
    """How a live source is, at one moment.

    Attributes:
        state: where it stands.
        error: why there is no signal, in a sentence; None where there is, or it is only opened.
        fault: what kind of failure that is.
        opens: captures that were begun.
        failures: of them, those in a row that failed without a frame since.
        reconnects: how often frames came again from a new capture.
        received: frames that came.
        skipped: of them, those that a newer one replaced before they were taken.
        old: of them, those that were passed over because of their age.
        spoilt: of them, those that could not be converted when they were taken.
        abandoned: threads that are left behind now, each in a call that does not return.
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
    spoilt: int
    abandoned: int
    retry_in_s: float | None


class LiveSource:
    """A camera or stream that is opened again and again; entered once, never waited for.

    All methods may be called from any thread. It goes on whether or not anybody takes its frames:
    its captures' threads and one timer for all sources drive it, and each `poll` does as well.

    Args:
        name: fit to be shown.
        open_capture: opens it, on a thread of its own.
        limits: how long to wait.
        retry: when to try again.
        clock: the time.
        random: draws evenly from 0..1.

    Attributes:
        name: as given.
        kind: `live`.
        fps: announced by the newest capture; None until one is open, or where it is unknown.
        length: None.
        failures: stays empty; `health` tells.
    """

    def __init__(
        self,
        name: str,
        open_capture: OpenCapture,
        limits: Limits = USUAL_LIMITS,
        retry: RetryPolicy = USUAL_RETRY,
        *,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self.name = name
        self.kind: SourceKind = "live"
        self.fps: float | None = None
        self.length: int | None = None
        self.failures: list[str] = []
        self._open_capture = open_capture
        self._clock = clock
        self._changed = threading.Condition()
        self._supervisor = Supervisor(name, limits, retry, random)
        self._slot = Slot(limits.max_age_s)
        self._eye = _Eye(name, limits.frame_s)
        self._wakes: list[Callable[[], None]] = []
        self._worker: threading.Thread | None = None
        self._alarm_s = math.inf
        self._entered = False
        self._left = False
        self._told = False

    def __enter__(self) -> Self:
        """Begin, and return at once: a camera may be absent."""
        with self._changed:
            if self._entered:
                raise RuntimeError("a live source is entered only once")
            self._entered = True
        SHARED.join(self._ring)
        self._act(self._supervisor.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop. A thread in a call that does not return is not waited for longer than a second,
        and closes its capture by itself if it ever does."""
        with self._changed:
            self._left = True
            self._slot.take()
            self._changed.notify_all()
            worker = self._worker
        SHARED.leave(self._ring)
        if worker is not None:
            worker.join(_LEAVE_S)

    def __iter__(self) -> Iterator[Frame | None]:
        """The newest frames, waiting for each; None where none came in time.

        Raises:
            SourceError: it was given up.
        """
        if not self._entered:
            raise RuntimeError("a source must be entered before it is read")
        return self._frames()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Have something called, from any thread and quickly, when `poll` may have news."""
        with self._changed:
            self._wakes.append(wake)

    def poll(self) -> Frame | Silence | None:
        """What is new, without waiting for it.

        Returns:
            The newest frame that was not taken yet, converted here; a silence, when no frame came
            for so long as `limits` says, again after as long again, and at once where the very
            first capture fails; None if nothing is new.

        Raises:
            SourceError: it was given up for good; of the last failure's class.
            MissingDependency: what opens it is absent.
        """
        waiting = self._act(lambda _: self._slot.take())
        if waiting is not None:
            return self._eye.look(waiting, self._clock.now())
        return self.poll_silence()

    def poll_silence(self) -> Silence | None:
        """As `poll`, but leaves frames where they are."""
        silence = self._act(self._take_silence)
        with self._changed:
            error = self._given_up()
            self._told = error is not None
        if error is not None:
            raise error.with_traceback(None)  # else it would grow with each time
        return None if self._left else silence

    def _take_silence(self, now_s: float) -> Silence | None:
        self._go_on(now_s)  # it may have fallen due this moment
        return self._supervisor.take_silence()

    def _given_up(self) -> PatchwatchError | None:
        over = self._supervisor.over == "failed" and self._slot.waiting is None
        return self._supervisor.failure if over and not self._left else None

    def next_poll_s(self) -> float:
        """When `poll` must be asked again though nothing woke, on the given clock; inf: never."""
        with self._changed:
            untold = self._given_up() is not None and not self._told
            if self._slot.waiting is not None or self._supervisor.silent or untold:
                return self._clock.now()
            next_s = None if self._left else self._supervisor.next_s
            return math.inf if next_s is None else next_s

    @property
    def ended(self) -> bool:
        """Whether a recording came to its end, and its last frame was taken."""
        with self._changed:
            return self._supervisor.over == "ended" and self._slot.waiting is None

    @property
    def waiting(self) -> bool:
        """Whether a frame waits to be taken."""
        return self._slot.waiting is not None

    @property
    def received(self) -> int:
        """Frames that came so far."""
        return self._slot.received

    def health(self) -> Health:
        """How it is now."""
        with self._changed:
            supervisor, slot = self._supervisor, self._slot
            problem = supervisor.problem
            return Health(
                state=supervisor.state,
                error=None if problem is None else str(problem),
                fault=None if problem is None else fault_of(problem),
                opens=supervisor.opens,
                failures=supervisor.failures,
                reconnects=supervisor.reconnects,
                received=slot.received,
                skipped=slot.skipped,
                old=slot.old,
                spoilt=self._eye.spoilt,
                abandoned=supervisor.abandoned,
                retry_in_s=supervisor.retry_in_s(self._clock.now()),
            )

    def _frames(self) -> Iterator[Frame | None]:
        while not self._left:
            item = self.poll()
            if item is not None:
                yield item if isinstance(item, Frame) else None
            elif self.ended:
                return
            else:
                self._rest()

    def _rest(self) -> None:
        with self._changed:
            rest_s = self.next_poll_s() - self._clock.now()
            self._changed.wait_for(
                lambda: self._left or any(self._news()), min(max(0.0, rest_s), _LONGEST_REST_S)
            )

    def _news(self) -> tuple[bool, bool, bool]:
        """Whether a frame waits, a silence is due, and it is over."""
        supervisor = self._supervisor
        return self._slot.waiting is not None, supervisor.silent, supervisor.over is not None

    def _act(self, event: Callable[[float], T]) -> T:
        """Let something happen at this moment, and do what follows from it.

        The lock is not held while the code of others runs, which may take long, or ask us.
        """
        with self._changed:
            before = self._news()
            now_s = self._clock.now()
            answer = event(now_s)
            self._go_on(now_s)
            notes = self._supervisor.take_notes()
            new = any(b and not a for a, b in zip(before, self._news(), strict=True))
            wakes = tuple(self._wakes) if new else ()
            if new:
                self._changed.notify_all()
        for note in notes:
            log.log(note.level, "%s", note.text)
        for wake in wakes:
            wake()
        return answer

    def _go_on(self, now_s: float) -> None:
        if self._left:
            return
        number = self._supervisor.advance(now_s)
        if number is not None:
            self._begin(number, now_s)
        next_s = self._supervisor.next_s
        if next_s is not None and next_s < self._alarm_s:
            self._alarm_s = next_s
            SHARED.after(next_s - now_s, self._ring)

    def _ring(self) -> None:
        def rung(_: float) -> None:
            self._alarm_s = math.inf

        self._act(rung)

    def _begin(self, number: int, now_s: float) -> None:
        # A daemon: a call that never returns must not keep the process alive.
        worker = threading.Thread(
            target=self._work, args=(number,), name="patchwatch-source", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:  # there are too many in this process, or too little memory
            error = SourceError(f"{self.name}: the system gives no thread to read it with.")
            self._supervisor.failed(number, error, now_s)
            self._supervisor.released(number)
        else:
            self._worker = worker

    def _work(self, number: int) -> None:
        capture = self._open(number)
        if capture is not None:
            self._read(number, capture)
            capture.close()
        self._act(lambda _: self._supervisor.released(number))

    def _open(self, number: int) -> Capture | None:
        try:
            return self._open_capture()
        except Exception as error:
            self._fail(number, error)
            return None

    def _read(self, number: int, capture: Capture) -> None:
        try:
            going = self._act(lambda now_s: self._opened(number, capture, now_s))
            while going:
                # No name is given to the shot, which would hold it while the next is waited for.
                going = self._pass_on(number, capture.read())
        except Exception as error:
            self._fail(number, error)

    def _opened(self, number: int, capture: Capture, now_s: float) -> bool:
        if self._left or not self._supervisor.opened(number, now_s):
            return False
        self.fps = capture.fps
        self._slot.reopened()
        return True

    def _pass_on(self, number: int, shot: Shot | None) -> bool:
        if shot is None:
            self._act(lambda now_s: self._supervisor.finished(number, now_s))
            return False
        return self._act(lambda now_s: self._arrived(number, shot, now_s))

    def _arrived(self, number: int, shot: Shot, now_s: float) -> bool:
        if self._left or not self._supervisor.heeds(number):
            return False
        unix_s = self._clock.unix() - max(0.0, now_s - shot.arrived_s)
        return self._supervisor.frame(number, now_s, fresh=self._slot.put(shot, unix_s))

    def _fail(self, number: int, error: Exception) -> None:
        if not isinstance(error, PatchwatchError):
            # Its own words may hold the address, and so the password.
            error = SourceError(f"{self.name}: reading it failed ({_kind(error)}).")
        told = _bare(error)
        self._act(lambda now_s: self._supervisor.failed(number, told, now_s))


class _Eye:
    """Converts frames as they are taken, and notices when their size changes or they are spoilt.

    Attributes:
        spoilt: frames that could not be converted.
    """

    def __init__(self, name: str, patience_s: float) -> None:
        self.spoilt = 0
        self._name = name
        self._patience_s = patience_s
        self._size_hw: tuple[int, int] | None = None
        self._blind_since_s: float | None = None
        self._lock = threading.Lock()

    def look(self, waiting: Waiting, now_s: float) -> Frame | Silence | None:
        """The frame; None if it is spoilt, and a silence if all were for as long as no frame may
        be missing."""
        shot = waiting.shot
        try:
            image = shot.image()
        except Exception as error:
            return self._spoil(error, now_s)
        frame = Frame(
            image, waiting.index, waiting.captured_at, self._name, waiting.pts_s, shot.pixel_format
        )
        with self._lock:
            self._blind_since_s = None
            before, self._size_hw = self._size_hw, frame.size_hw
        if before is not None and before != frame.size_hw:
            new, old = (f"{width}×{height}" for height, width in (frame.size_hw, before))
            log.info("%s gives %s now, not %s", self._name, new, old)
        return frame

    def _spoil(self, error: Exception, now_s: float) -> Silence | None:
        known = isinstance(error, SourceError)
        why = str(error).rstrip(".") if known else f"a frame cannot be converted ({_kind(error)})"
        text = why if why.startswith(self._name) else f"{self._name}: {why}"
        with self._lock:
            self.spoilt += 1
            first = self.spoilt == 1
            if self._blind_since_s is None:
                self._blind_since_s = now_s
            blind = now_s - self._blind_since_s >= self._patience_s
            if blind:
                self._blind_since_s = now_s
        if first:
            log.warning("%s; only the first is told", text)
        return Silence(f"{text}.", "codec") if blind else None


def _kind(error: Exception) -> str:
    return type(error).__name__


def _bare(error: PatchwatchError) -> PatchwatchError:
    """The error without its history, which would keep alive what a dead capture held."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
