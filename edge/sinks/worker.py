"""Serves a sink in a thread of its own, so that a slow or failing one never delays detection."""

from __future__ import annotations

import errno
import logging
import math
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
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

# What only a person can change.
_FULL = errno.ENOSPC, errno.EDQUOT
_REFUSED = errno.EROFS, errno.EACCES, errno.EPERM
_WRONG_PATH = errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The state of a sink worker: `waiting` to reopen the sink, `stopped` for the rest of the run.

    It counts results that the sink took and that it did not (too slow, failing or stopped), and how
    often it was reopened; `error` is why it last failed, in a sentence.
    """

    name: str
    state: WorkerState
    written: int
    dropped: int
    restarts: int
    error: str | None


class SinkWorker:
    """Feeds one sink from a bounded queue, in a thread of its own.

    A sink that fails is closed, so that its file is finished as far as possible, and entered again
    after a pause; a lasting problem is logged once. What only a person can change (a full disk, for
    instance) stops the worker with one line. What is put into a stopped worker is dropped and
    counted.

    Args:
        sink: unopened.
        name: fit to be shown, for instance "door: recording"; the sink's if None.
        capacity: most results held, the one being written among them; 2 or more.
        on_gone: called in the worker's thread when the reader of the output has closed it; the
            worker stops.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        name: str | None = None,
        capacity: int = CAPACITY,
        on_gone: Callable[[], None] | None = None,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self.name = sink.name if name is None else name
        self._sink = sink
        self._on_gone = on_gone
        self._now = now
        self._wait = wait
        self._pause_s = FIRST_PAUSE_S
        self._opened_s = math.inf
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        # The queue, behind one lock: results that wait, and whether one is in hand.
        if capacity < 2:
            raise ValueError("a sink worker holds the result being written and the next: 2 or more")
        self._capacity = capacity
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Result, Picture]] = deque()
        self._in_hand = 0
        self._accepts = False
        self._until_s = math.inf
        self._dropped = 0
        # Written by the worker's thread alone once that runs.
        self._state: WorkerState = "new"
        self._written = self._lost = self._restarts = 0
        self._error: str | None = None
        self._logged: str | None = None
        self._is_failing = False

    def open(self) -> None:
        """Open the sink, in the calling thread, or raise a SinkError; and start."""
        if self._thread is not None:
            raise ValueError("a sink worker is opened once")
        self._sink.__enter__()
        self._state = "open"
        self._accepts = self._until_s == math.inf
        # A sink that never returns must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="patchwatch-sink", daemon=True)
        self._thread.start()

    def put(self, result: Result, picture: Picture) -> None:
        """Hand over a result; never blocks. Without room, the oldest that waits is dropped."""
        with self._changed:
            if self._accepts and len(self._waiting) + self._in_hand >= self._capacity:
                self._waiting.popleft()
                self._dropped += 1
            if self._accepts:
                self._waiting.append((result, picture))
                self._changed.notify()
            else:
                self._dropped += 1

    def begin_close(self, within_s: float = CLOSE_S) -> None:
        """Begin to finish; returns at once, so that many workers finish at the same time.

        What waits is written during half of the time and dropped then, as the rest may be needed
        to finish the file.
        """
        with self._changed:
            self._accepts = False
            self._until_s = min(self._until_s, self._now() + within_s / 2)
            self._changed.notify_all()
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
        """Its state now."""
        dropped = self._lost + self._dropped
        return WorkerHealth(
            self.name, self._state, self._written, dropped, self._restarts, self._error
        )

    def _run(self) -> None:
        while self._serve_next() and (self._state == "open" or self._recover()):
            pass
        with self._changed:
            self._accepts = False
            self._dropped += len(self._waiting)
            self._waiting.clear()
        if self._state == "open":
            try:
                self._sink.__exit__(None, None, None)
            except Exception as error:
                self._error = _in_words(error)
                _log.warning("%s was not finished: %s", self.name, self._error)
        if self._state != "stopped":
            self._state = "closed"

    def _serve_next(self) -> bool:
        """Serve a result, and keep no hold of it; False when none will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._accepts)
            if not self._waiting or self._now() >= self._until_s:
                return False
            self._in_hand = 1
            item = self._waiting.popleft()
        written = self._serve(*item)
        self._in_hand = 0
        self._written += written
        self._lost += not written
        return self._state != "stopped"

    def _serve(self, result: Result, picture: Picture) -> bool:
        if self._sink.wants_picture and not self._can_draw(picture):
            return False
        try:
            self._sink.write(result, picture)
        except Exception as error:
            try:
                self._sink.__exit__(type(error), error, error.__traceback__)
            except Exception as second:
                _log.debug("%s: closing it failed too: %s", self.name, _in_words(second))
            self._failed(error)
            return False
        if self._is_failing and self._is_settled():
            self._is_failing = False
            _log.info("%s has recovered; %d results were lost", self.name, self.health().dropped)
        return True

    def _can_draw(self, picture: Picture) -> bool:
        """Whether the picture can be drawn; if not, that is no reason to close the sink."""
        try:
            picture()
        except Exception as error:
            sentence = f"a picture that cannot be drawn: {_in_words(error)}"
            if self._logged != sentence:
                self._logged = sentence
                _log.warning("%s: %s", self.name, sentence)
            return False
        return True

    def _failed(self, error: Exception) -> None:
        """Stop, or log that it will be reopened."""
        is_gone = isinstance(error, BrokenPipeError)
        self._error = "its reader has closed it." if is_gone else _in_words(error)
        if is_gone or is_permanent(error):
            self._state = "stopped"
            if is_gone and self._on_gone is not None:
                self._on_gone()
            else:
                _log.warning("%s stopped; detection continues: %s", self.name, self._error)
            return
        self._state = "waiting"
        if self._is_settled() or self._error != self._logged:
            self._logged, self._is_failing = self._error, True
            _log.warning("%s failed and will be retried: %s", self.name, self._error)

    def _recover(self) -> bool:
        """Enter the sink again, however long that takes; False if it is not to be.

        Pauses double up to a minute, and start at a second again once it worked for a minute.
        """
        while self._state == "waiting":
            pause_s = FIRST_PAUSE_S if self._is_settled() else self._pause_s
            self._pause_s, self._opened_s = min(2 * pause_s, LONGEST_PAUSE_S), math.inf
            self._wait(self._closing, pause_s)
            if self._closing.is_set():
                return False
            try:
                self._sink.__enter__()
            except Exception as error:
                self._failed(error)
            else:
                self._state = "open"
                self._restarts += 1
                self._opened_s = self._now()
        return self._state == "open"

    def _is_settled(self) -> bool:
        """Whether it has worked for long, so that a failure now is a new problem."""
        worked_s = self._now() - self._opened_s
        return self._pause_s == FIRST_PAUSE_S or worked_s >= LONGEST_PAUSE_S


def is_permanent(error: Exception) -> bool:
    """Whether only a person can fix it, so that a retry is of no use.

    So it is with a full disk, a refused permission, a wrong path, and with what a sink refuses by
    itself: the words for a failure of the system carry it as their cause, a refusal has none.
    """
    cause = error.__cause__ if isinstance(error, SinkError) else error
    permanent = (*_FULL, *_REFUSED, *_WRONG_PATH)
    return cause is None or getattr(cause, "errno", None) in permanent


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, PatchwatchError) else f"{type(error).__name__}: {error}"
