"""Recordings and pictures: a reader thread decodes a few frames ahead, and none is lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress

from typing_extensions import Self

from edge.sources.base import SourceKind
from edge.sources.faults import no_answer
from edge.types import Frame

_JOIN_S = 1.5  # how long leaving waits for a thread that is inside a blocking read
_OPEN_GRACE_S = 1.0  # beyond the timeout, so that the opener can say itself what went wrong

Feed = tuple[Iterator[Frame], Callable[[], None]]
"""Frames, which raise SourceError where reading fails for good, and what releases their file."""


class RecordedSource:
    """A source whose frames come from a feed; may be entered again after its end.

    Args:
        name: fit to be shown.
        kind: as in `Source`.
        open_feed: opens the file; may block, set `fps` and `length`, and raise SourceError. As the
            feed it is used on the reader thread only.
        open_timeout_s: give up opening after it; None for no limit.
        ahead: frames read ahead of the consumer.
    """

    def __init__(
        self,
        name: str,
        kind: SourceKind,
        open_feed: Callable[[], Feed],
        *,
        open_timeout_s: float | None = None,
        ahead: int = 2,
    ) -> None:
        self.name = name
        self.kind: SourceKind = kind
        self.fps: float | None = None
        self.length: int | None = None
        self.failures: list[str] = []
        self.damaged = 0
        self._open_feed = open_feed
        self._open_timeout_s = open_timeout_s
        self._ahead = ahead
        self._reader: _Reader | None = None

    def __enter__(self) -> Self:
        limit_s = self._open_timeout_s
        self._reader = _Reader(self._open_feed, self._ahead)
        try:
            self._reader.opened.result(None if limit_s is None else limit_s + _OPEN_GRACE_S)
        except BaseException as error:
            self._reader.stop()
            if isinstance(error, FutureTimeoutError):
                raise no_answer(self.name, limit_s or 0.0) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading. A thread in a call that does not return closes its feed if it ever does."""
        if self._reader is not None:
            self._reader.stop()
            self._reader.join(_JOIN_S)

    def __iter__(self) -> Iterator[Frame]:
        if self._reader is None:
            raise RuntimeError("a source must be entered before it is read")
        return self._reader.frames()


class _Reader(threading.Thread):
    """Opens, reads and closes a feed; waits while its queue is full."""

    def __init__(self, open_feed: Callable[[], Feed], ahead: int) -> None:
        # A daemon: a read that never returns must not keep the process alive.
        super().__init__(name="patchwatch-source", daemon=True)
        self.opened: Future[None] = Future()
        self._open_feed = open_feed
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(ahead)
        self._stopped = False
        self.start()

    def run(self) -> None:
        """Read to the end, which is None or an error in the queue."""
        try:
            frames, close = self._open_feed()
        except BaseException as error:
            self.opened.set_exception(error)
            return
        self.opened.set_result(None)
        end: BaseException | None = None
        try:
            while not self._stopped and (frame := next(frames, None)) is not None:
                self._queue.put(frame)
        except BaseException as error:
            end = error
        finally:
            close()
        self._queue.put(end)

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the feed ends; then raise what ended it, if it was an error."""
        while not self._stopped:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item

    def stop(self) -> None:
        """Read no more, and make room for what the thread still puts."""
        self._stopped = True
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
