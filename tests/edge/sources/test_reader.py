from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge.errors import SourceError
from edge.sources.reader import Feed, RecordedSource
from edge.types import Frame
from tests.edge.sources.clips import nothing_left_behind
from tests.fakes import wait_for


def frame(index: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), index, time.time(), "test")


class Recorded:
    """A feed that counts what is read of it and notes in which thread it is closed."""

    def __init__(self, frames: int) -> None:
        self.read = 0
        self.closed_in: list[str] = []
        self._frames = frames

    def open(self) -> Feed:
        return self._read(), self._close

    def _read(self) -> Iterator[Frame]:
        for index in range(self._frames):
            self.read += 1
            yield frame(index)

    def _close(self) -> None:
        self.closed_in.append(threading.current_thread().name)


def test_a_file_feed_loses_nothing_and_is_read_only_a_little_ahead() -> None:
    recorded = Recorded(50)
    with nothing_left_behind(), RecordedSource("test", "file", recorded.open, ahead=2) as source:
        frames = iter(source)
        taken = [next(frames)]
        wait_for(lambda: recorded.read == 3)
        time.sleep(0.05)
        assert recorded.read == 3, "one taken, two waiting"
        taken += frames
    assert [item.index for item in taken] == list(range(50))
    assert recorded.closed_in == ["patchwatch-source"]


def test_leaving_early_stops_a_thread_that_waits_for_room() -> None:
    recorded = Recorded(1000)
    with nothing_left_behind(), RecordedSource("test", "file", recorded.open) as source:
        assert next(iter(source)) is not None
    assert recorded.read < 10


def test_opening_and_leaving_are_bounded_while_a_call_blocks() -> None:
    release, closed = threading.Event(), threading.Event()

    def open_slowly() -> Feed:
        release.wait()
        return iter(()), closed.set

    with (
        pytest.raises(SourceError, match=r"test: no answer within 0\.1 s"),
        RecordedSource("test", "file", open_slowly, open_timeout_s=0.1),
    ):
        pass
    release.set()
    assert closed.wait(5), "a feed that opens too late is closed"


def test_leaving_is_bounded_while_a_read_blocks() -> None:
    release, closed = threading.Event(), threading.Event()

    def blocked() -> Iterator[Frame]:
        yield frame(0)
        release.wait()

    with RecordedSource("test", "file", lambda: (blocked(), closed.set)) as source:
        assert next(iter(source)).index == 0
    assert not closed.is_set()
    release.set()
    assert closed.wait(5)
