"""The thread between a decoder and the one who takes its frames, where none may be lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

from typing_extensions import Self

from edge.sources.base import SourceKind
from edge.sources.supervisor import no_answer
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
        close: gives the device or file back.
        kind: as in `Source`.
        fps: announced frames per second, where known.
        length: announced number of frames, where known.
    """

    frames: Iterator[Frame]
    close: Callable[[], None]
    kind: SourceKind
    fps: float | None = None
    length: int | None = None


class Pump:
    """Opens, reads and closes a feed on a thread of its own, a few frames ahead of the taker.

    Frames go through a short queue that makes the reader wait, so that none is lost and memory
    stays small.

    Args:
        open_feed: called on the thread; may block, and raises SourceError.
        ahead: length of the queue.
    """

    def __init__(self, open_feed: Callable[[], Feed], ahead: int) -> None:
        self._open_feed = open_feed
        self._ahead = ahead
        self._opened: Future[Feed] = Future()
        self._changed = threading.Condition()
        self._waiting: deque[Frame] = deque()
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
        try:
            return self._opened.result(timeout_s)
        except FutureTimeoutError as error:
            raise TimeoutError from error

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the feed ends.

        Raises:
            SourceError: reading failed; after the frames that were read before.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over)
                if not self._waiting:
                    break
                frame = self._waiting.popleft()
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
            self._waiting.clear()
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
            self._pass_on(feed)
        except BaseException as error:
            self._error = error
        finally:
            feed.close()
            self._finish()

    def _pass_on(self, feed: Feed) -> None:
        while not self._stopped:
            frame = next(feed.frames, None)
            if frame is None:
                return
            self._put(frame)

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._waiting) < self._ahead)
            if not self._stopped:
                self._waiting.append(frame)
                self._changed.notify_all()

    @property
    def _over(self) -> bool:
        return self._finished or self._stopped

    def _finish(self) -> None:
        with self._changed:
            self._finished = True
            self._changed.notify_all()


class PumpedSource:
    """A source whose frames come from a feed, through a pump; may be entered again after its end.

    Args:
        name: fit to be shown.
        open_feed: opens the device or file, on the reading thread; raises SourceError.
        kind: as in `Source`; what opening finds replaces it.
        open_timeout_s: give up opening after it; None waits for ever.
        ahead: frames read ahead of the taker.
    """

    def __init__(
        self,
        name: str,
        open_feed: Callable[[], Feed],
        kind: SourceKind,
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
        self._pump: Pump | None = None

    def __enter__(self) -> Self:
        pump = Pump(self._open_feed, self._ahead)
        try:
            feed = pump.start(self._open_timeout_s and self._open_timeout_s + _OPEN_GRACE_S)
        except TimeoutError as error:
            pump.close(join_s=0)
            raise no_answer(self.name, self._open_timeout_s or 0.0) from error
        except BaseException:
            pump.close(join_s=0)
            raise
        self.kind, self.fps, self.length = feed.kind, feed.fps, feed.length
        self._pump = pump
        return self

    def __exit__(self, *_: object) -> None:
        if self._pump is not None:
            self._pump.close()

    def __iter__(self) -> Iterator[Frame]:
        if self._pump is None:
            raise RuntimeError("a source must be entered before it is read")
        return self._pump.frames()
