"""Recordings and pictures: a reader thread decodes a few frames ahead, and none is lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from typing_extensions import Self

from edge.sources.base import SourceKind
from edge.sources.faults import no_answer
from edge.types import Frame

_JOIN_S = 1.5
"""How long closing waits for a thread that is inside a blocking read, in seconds."""

_OPEN_GRACE_S = 1.0
"""What opening may take beyond its timeout, so that the opener can say itself what went wrong."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Something opened that gives frames; used and closed in one thread only.

    Attributes:
        frames: the frames; raises SourceError where reading fails for good.
        close: releases the file.
        fps: announced frames per second, where known.
        length: announced number of frames, where known.
    """

    frames: Iterator[Frame]
    close: Callable[[], None]
    fps: float | None = None
    length: int | None = None


class RecordedSource:
    """A source whose frames come from a feed; may be entered again after its end.

    Args:
        name: fit to be shown.
        open_feed: opens the file, on the reader thread; may block, and raises SourceError.
        kind: as in `Source`.
        open_timeout_s: give up opening after it; None for no limit.
        ahead: frames read ahead of the consumer.
    """

    def __init__(
        self,
        name: str,
        open_feed: Callable[[], Feed],
        kind: SourceKind = "file",
        *,
        open_timeout_s: float | None = None,
        ahead: int = 2,
    ) -> None:
        self.name = name
        self.kind: SourceKind = kind
        self.fps: float | None = None
        self.length: int | None = None
        self.failures: list[str] = []
        self._open_feed = open_feed
        self._open_timeout_s = open_timeout_s
        self._ahead = ahead
        self._reader: _Reader | None = None

    def __enter__(self) -> Self:
        reader = _Reader(self._open_feed, self._ahead)
        limit_s = self._open_timeout_s
        try:
            feed = reader.start(None if limit_s is None else limit_s + _OPEN_GRACE_S)
        except BaseException as error:
            reader.close(join_s=0)
            if isinstance(error, FutureTimeoutError):
                raise no_answer(self.name, limit_s or 0.0) from error
            raise
        self.fps, self.length = feed.fps, feed.length
        self._reader = reader
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._reader is None:
            raise RuntimeError("a source must be entered before it is read")
        return self._reader.frames()


class _Reader:
    """Opens, reads and closes a feed on a thread of its own, which waits while its queue is full.

    Args:
        open_feed: as for the source.
        ahead: length of the queue.
    """

    def __init__(self, open_feed: Callable[[], Feed], ahead: int) -> None:
        self._open_feed = open_feed
        self._ahead = ahead
        self._opened: Future[Feed] = Future()
        self._changed = threading.Condition()
        self._queue: deque[Frame] = deque()
        self._stopped = False
        self._finished = False
        self._error: BaseException | None = None
        # A daemon: a read that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="patchwatch-source", daemon=True)

    def start(self, timeout_s: float | None) -> Feed:
        """Start the thread and wait until the feed is open.

        Raises:
            SourceError: it cannot be opened.
            TimeoutError: it was not open in time; the thread goes on alone and closes it.
        """
        self._thread.start()
        return self._opened.result(timeout_s)

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the feed ends.

        Raises:
            SourceError: reading failed; after the frames that were read before.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._finished or self._stopped)
                if not self._queue:
                    break
                frame = self._queue.popleft()
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error

    def close(self, join_s: float = _JOIN_S) -> None:
        """Stop reading; returns after `join_s` seconds even if the thread is in a blocking call.

        Such a thread closes its feed by itself when that call returns.
        """
        with self._changed:
            self._stopped = True
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join(join_s)

    def _run(self) -> None:
        try:
            feed = self._open_feed()
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(feed)
        try:
            while not self._stopped and (frame := next(feed.frames, None)) is not None:
                self._put(frame)
        except BaseException as error:
            self._error = error
        finally:
            feed.close()
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._queue) < self._ahead)
            if not self._stopped:
                self._queue.append(frame)
                self._changed.notify_all()
