"""What is behind an address of the web shows only when it is asked: a recording, or a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from types import TracebackType

from typing_extensions import Self

from edge.errors import SourceError
from edge.sources.base import SourceKind
from edge.sources.live import LiveSource
from edge.sources.policy import Limits
from edge.sources.pump import Feed, PumpedSource
from edge.types import Frame


class WebSource:
    """A recording read without loss, or a stream; entering it asks which.

    Who needs the source itself, unentered, asks with `resolve` in place of entering this one.

    Args:
        name: fit to be shown.
        url: http or https.
        limits: how long to wait.
        live: makes the source of a stream.

    Attributes:
        kind: `live` until it was asked; then, like the others, as the source that was found.
    """

    def __init__(self, name: str, url: str, limits: Limits, live: Callable[[], LiveSource]) -> None:
        self.name = name
        self.kind: SourceKind = "live"
        self.fps: float | None = None
        self.length: int | None = None
        self.failures: list[str] = []
        self._url = url
        self._limits = limits
        self._live = live
        self._found: LiveSource | PumpedSource | None = None
        self._stack = ExitStack()

    def resolve(self) -> LiveSource | PumpedSource:
        """Ask what is there, for as long as opening may take; where nothing answers, take it for
        a stream, which may begin later.

        Returns:
            The source, to be opened by entering it.
        """
        if not _is_recording(self._url, self._limits):
            return self._live()
        return PumpedSource(
            self.name,
            lambda: _open_recording(self._url, self.name, self._limits),
            "file",
            open_timeout_s=self._limits.open_s,
        )

    def __enter__(self) -> Self:
        """Ask what is there, and open it.

        Raises:
            SourceError: it is a recording that cannot be opened.
            MissingDependency: it is a recording, and OpenCV is absent.
        """
        found = self.resolve()
        self._stack.enter_context(found)
        self._found = found
        self.kind, self.fps, self.length = found.kind, found.fps, found.length
        self.failures = found.failures
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Frame | None]:
        """As the source that was found."""
        if self._found is None:
            raise RuntimeError("a source must be entered before it is read")
        return iter(self._found)


def _is_recording(url: str, limits: Limits) -> bool:
    """Ask on a thread that may be left behind, so that Ctrl-C need not wait for the answer."""
    from edge.sources.streams import is_recording

    answer: Future[bool] = Future()

    def ask() -> None:
        try:
            answer.set_result(is_recording(url, limits))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="patchwatch-source", daemon=True).start()
    try:
        return answer.result(limits.open_s + limits.grace_s)
    except (SourceError, FutureTimeoutError):  # a stream will find the same, and say it
        return False


def _open_recording(url: str, name: str, limits: Limits) -> Feed:
    from edge.sources.opencv import cv2, open_ffmpeg
    from edge.sources.video import file_feed

    parameters = (
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(limits.open_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(limits.read_s * 1000),
    )
    capture = open_ffmpeg(url, parameters)
    if not capture.isOpened():
        raise SourceError(
            f"{name}: cannot be opened as a video. Check the address and that the server runs."
        )
    # Nothing but the announced number tells that a download broke off.
    return file_feed(capture, name, falls_short=lambda _: True)
