"""Recordings and pictures: a reader thread decodes a few frames ahead, and none is lost."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

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

    `open_feed` may block, set `fps` and `length` and raise SourceError; it and its feed are used on
    the reader thread only. So many frames are read `ahead` of the consumer.
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
        self.name, self.kind = name, kind
        self.fps: float | None = None
        self.length: int | None = None
        self.failures: list[str] = []
        self.damaged = 0
        self._open_feed, self._ahead, self._open_timeout_s = open_feed, ahead, open_timeout_s
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
        """Stop reading; a thread in a call that does not return closes its feed if it ever does."""
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
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue()
        # Waited for before a frame is read: one that waits for room would be one more in memory.
        self._room = threading.Semaphore(ahead)
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
            while self._finds_room() and (frame := next(frames, None)) is not None:
                self._queue.put(frame)
                del frame  # or it would stay until the next one is there
        except BaseException as error:
            end = error
        finally:
            close()
        self._queue.put(end)

    def _finds_room(self) -> bool:
        self._room.acquire()
        return not self._stopped

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the feed ends; then raise what ended it, if it was an error."""
        while not self._stopped:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            self._room.release()
            yield item

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True
        self._room.release()
        while not self._queue.empty():
            self._queue.get_nowait()
