"""Serves a sink in a thread of its own, so that a slow or failing one never holds detection up."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge.errors import PatchwatchError, SinkError
from edge.sinks.base import Sink
from edge.types import Picture, Result

_log = logging.getLogger(__name__)

WorkerState = Literal["new", "open", "waiting", "stopped", "closed"]

CAPACITY = 4
CLOSE_S = 3.0
"""What finishing may take, in seconds."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

# What only a person can change.
_FOR_GOOD = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How an outlet fares.

    Attributes:
        name: of the outlet.
        state: `new` before it was opened, `open`, `waiting` to open the sink again, `stopped` for
            good, `closed`.
        written: results that the sink took.
        dropped: results that it did not: too slow, failing or stopped.
        restarts: how often the sink was opened again.
        error: why the sink last failed, in a sentence; None if it never did.
    """

    name: str
    state: WorkerState
    written: int
    dropped: int
    restarts: int
    error: str | None


class SinkWorker:
    """Feeds one sink from a bounded queue, in a thread of its own.

    A sink that fails is closed, so that its file is finished as far as it goes, and after a pause
    another is opened in its place; of a lasting trouble one line is logged. What only a person can
    change (a full disk, for instance) stops the outlet for good with one line. What goes into a
    stopped outlet is dropped and counted.

    Args:
        sink: unopened.
        name: fit to be shown, for instance "door: recording"; the sink's if None.
        capacity: results held at most, the one being written among them; 2 or more.
        restart: gives the sink, unopened, that goes on after a failure, perhaps the same; None
            where opening again would harm what was written, so that any failure stops it.
        on_gone: called in the outlet's thread when whoever reads the output has gone; the outlet
            stops.
        now: the clock, in seconds.
        wait: waits until the event is set, at most for so many seconds.

    Attributes:
        name: as above.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        name: str | None = None,
        capacity: int = CAPACITY,
        restart: Callable[[], Sink] | None = None,
        on_gone: Callable[[], None] | None = None,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self.name = sink.name if name is None else name
        self._sink: Sink | None = sink
        self._restart = restart
        self._on_gone = on_gone
        self._now = now
        self._wait = wait
        self._queue = _Queue(capacity, now)
        self._backoff = Backoff()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        # Written by the outlet's thread alone once that runs.
        self._state: WorkerState = "new"
        self._written = self._lost = self._restarts = 0
        self._error: str | None = None
        self._told: str | None = None
        self._owes_good_news = False
        self._undrawn: str | None = None

    def open(self) -> None:
        """Open the sink, in the calling thread, and begin.

        Raises:
            SinkError: it cannot be opened; nothing that exists was harmed.
        """
        if self._thread is not None or self._sink is None:
            raise ValueError("an outlet is opened once")
        self._sink.__enter__()
        self._state = "open"
        self._queue.open()
        # A sink that never returns must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="patchwatch-outlet", daemon=True)
        self._thread.start()

    def put(self, result: Result, picture: Picture) -> None:
        """Hand over a result; never blocks. If there is no room, the oldest that waits is dropped.

        Args:
            result: the frame and all that is known about it.
            picture: called in the outlet's thread, if the sink needs the picture.
        """
        self._queue.put(result, picture)

    def begin_close(self, within_s: float = CLOSE_S) -> None:
        """Let it come to its end; returns at once, so that many outlets end side by side.

        What waits is written while half of the time lasts and dropped then, as the rest may be
        needed to finish the file.
        """
        self._queue.close(self._now() + within_s / 2)
        self._closing.set()

    def join(self, timeout_s: float = CLOSE_S) -> bool:
        """Wait for the end; False if the sink did not return in time and was left behind."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write what waits, finish the file and end the thread; see `begin_close` and `join`."""
        self.begin_close(timeout_s)
        return self.join(timeout_s)

    def health(self) -> WorkerHealth:
        """How it fares now."""
        dropped = self._lost + self._queue.dropped
        return WorkerHealth(
            self.name, self._state, self._written, dropped, self._restarts, self._error
        )

    def _run(self) -> None:
        while self._serve_next() and (self._sink is not None or self._recover()):
            pass
        self._queue.close(self._now())
        self._queue.clear()
        if self._sink is not None:
            self._finish(self._sink)
        if self._state != "stopped":
            self._state = "closed"

    def _serve_next(self) -> bool:
        """Serve a result, and hold on to it no longer; False when none will come any more."""
        item = self._queue.take()
        if item is None or self._sink is None:
            return False
        try:
            written = self._serve(self._sink, *item)
        finally:
            self._queue.done()
        self._written += written
        self._lost += not written
        return self._state != "stopped"

    def _serve(self, sink: Sink, result: Result, picture: Picture) -> bool:
        try:
            if sink.wants_picture and not self._drawn(picture):
                return False
            sink.write(result, picture)
        except BrokenPipeError as error:
            self._let_go(sink, error)
            self._leave()
            return False
        except Exception as error:
            self._let_go(sink, error)
            self._note(error)
            return False
        self._tell_good_news()
        return True

    def _drawn(self, picture: Picture) -> bool:
        """Whether the picture can be drawn; if not, that is no reason to close the sink."""
        try:
            picture()
        except Exception as error:
            if self._undrawn != (sentence := _in_words(error)):
                self._undrawn = sentence
                _log.warning("%s: a picture that cannot be drawn: %s", self.name, sentence)
            return False
        return True

    def _let_go(self, sink: Sink, error: Exception) -> None:
        self._sink = None
        try:
            sink.__exit__(type(error), error, error.__traceback__)
        except Exception as second:
            _log.debug("%s: closing it failed too: %s", self.name, _in_words(second))

    def _finish(self, sink: Sink) -> None:
        self._sink = None
        try:
            sink.__exit__(None, None, None)
        except Exception as error:
            self._error = _in_words(error)
            _log.warning("%s was not finished: %s", self.name, self._error)

    def _leave(self) -> None:
        self._error = "whoever read it has gone."
        if self._on_gone is not None:
            self._on_gone()
        else:
            _log.warning("%s stopped, and detection goes on: %s", self.name, self._error)
        self._state = "stopped"

    def _note(self, error: Exception) -> None:
        """Take note of a failure: stop for good, or say that it is tried again."""
        self._error = _in_words(error)
        if self._restart is None or is_for_good(error):
            _log.warning("%s stopped, and detection goes on: %s", self.name, self._error)
            self._state = "stopped"
            return
        if self._backoff.is_fresh(self._now()) or self._error != self._told:
            self._told, self._owes_good_news = self._error, True
            _log.warning("%s failed and is tried again: %s", self.name, self._error)
        self._state = "waiting"

    def _recover(self) -> bool:
        """Open another sink, however long that takes; False if it is not to be."""
        while self._state == "waiting" and self._restart is not None:
            self._wait(self._closing, self._backoff.failed(self._now()))
            if self._closing.is_set():
                return False
            try:
                sink = self._restart()
                sink.__enter__()
            except Exception as error:
                self._note(error)
            else:
                self._sink, self._state = sink, "open"
                self._restarts += 1
                self._backoff.opened(self._now())
        return self._state == "open"

    def _tell_good_news(self) -> None:
        """Say that a trouble is over, once it has stayed away long enough to be a new one next."""
        if self._owes_good_news and self._backoff.is_fresh(self._now()):
            self._owes_good_news = False
            _log.info("%s goes on; %d results are lost so far", self.name, self.health().dropped)


class Backoff:
    """Pauses before a sink is opened again: a second, then twice as long each time, up to a minute.

    One that went on for a minute begins at a second again; one that fails soon after each opening
    does not.
    """

    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._opened_s: float | None = None

    def is_fresh(self, now_s: float) -> bool:
        """Whether a failure now is a new trouble, not one that lasts."""
        if self._opened_s is not None and now_s - self._opened_s >= LONGEST_PAUSE_S:
            return True
        return self._pause_s == FIRST_PAUSE_S

    def failed(self, now_s: float) -> float:
        """Seconds to wait after a failure."""
        pause_s = FIRST_PAUSE_S if self.is_fresh(now_s) else self._pause_s
        self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._opened_s = None
        return pause_s

    def opened(self, now_s: float) -> None:
        """The sink was opened again."""
        self._opened_s = now_s


class _Queue:
    """At most `capacity` results, the one in hand among them; the oldest that waits gives way."""

    def __init__(self, capacity: int, now: Callable[[], float]) -> None:
        if capacity < 2:
            raise ValueError("an outlet holds the result being written and the next: 2 or more")
        self._capacity = capacity
        self._now = now
        self._waiting: deque[tuple[Result, Picture]] = deque()
        self._in_hand = 0
        self._changed = threading.Condition()
        self._is_open = False
        self._until_s: float | None = None
        self.dropped = 0

    def open(self) -> None:
        with self._changed:
            self._is_open = self._until_s is None

    def put(self, result: Result, picture: Picture) -> None:
        with self._changed:
            if not self._is_open:
                self.dropped += 1
                return
            if len(self._waiting) + self._in_hand >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((result, picture))
            self._changed.notify()

    def take(self) -> tuple[Result, Picture] | None:
        """The oldest, when there is one; None once it is closed and nothing may be taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            if not self._waiting or (self._until_s is not None and self._now() >= self._until_s):
                return None
            self._in_hand = 1
            return self._waiting.popleft()

    def done(self) -> None:
        with self._changed:
            self._in_hand = 0

    def close(self, until_s: float) -> None:
        """Take no more in; what waits may be taken until then."""
        with self._changed:
            self._is_open = False
            self._until_s = until_s if self._until_s is None else min(until_s, self._until_s)
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting.clear()


def is_for_good(error: Exception) -> bool:
    """Whether only a person can mend it, so that trying again is of no use.

    So it is with a full or read-only disk, a used-up quota, a refused permission, a wrong path, and
    with what a sink refuses by itself: the words for a failure of the system carry it as their
    cause, a refusal has none.
    """
    cause = error.__cause__ if isinstance(error, SinkError) else error
    return cause is None or getattr(cause, "errno", None) in _FOR_GOOD


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, PatchwatchError) else f"{type(error).__name__}: {error}"
