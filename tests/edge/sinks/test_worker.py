from __future__ import annotations

import errno
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from typing_extensions import Self

from edge.errors import SinkError
from edge.files import sink_error
from edge.sinks.jsonl import JsonLinesSink
from edge.sinks.recording import RecordingSink
from edge.sinks.worker import LONGEST_PAUSE_S, SinkWorker, WorkerState
from edge.types import Image, Picture, Result
from tests.edge.sinks.results import make_result, plain
from tests.fakes import FakeSink

PATIENCE_S = 60.0


class Steered(FakeSink):
    """Fails on request, and takes a result only when it may."""

    name = "steered"

    def __init__(self, *failures: Exception | None, wants_picture: bool = False) -> None:
        super().__init__(wants_picture)
        self.failures = list(failures)
        self.refusals: list[Exception] = []
        self.exits: list[BaseException | None] = []
        self.let = threading.Event()
        self.let.set()
        self.busy = threading.Event()
        self.entered = 0
        self.on_exit: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        self.entered += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return self

    def __exit__(self, *args: object) -> None:
        error = args[1]
        assert error is None or isinstance(error, BaseException)
        self.exits.append(error)
        self.on_exit()

    def write(self, result: Result, picture: Picture) -> None:
        self.busy.set()
        assert self.let.wait(PATIENCE_S)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        super().write(result, picture)

    @property
    def indices(self) -> list[int]:
        return [result.frame.index for result in self.results]


class Pauses:
    """A clock that moves only while a worker waits, which takes no time."""

    def __init__(self, most: int = 1000) -> None:
        self.now_s = 0.0
        self.taken: list[float] = []
        self._most = most

    def now(self) -> float:
        return self.now_s

    def wait(self, closing: threading.Event, seconds: float) -> None:
        if len(self.taken) >= self._most:
            closing.wait(PATIENCE_S)
            return
        self.taken.append(seconds)
        self.now_s += seconds


def fail() -> Image:
    raise AssertionError("nobody wanted a picture")


undrawn = Picture(fail)
black = Picture.of(plain(2, 2, (0, 0, 0)))


def broken(reason: str = "Input/output error", number: int = errno.EIO) -> SinkError:
    """As a sink raises it: in words, with the system's own as the cause."""
    error = sink_error(Path("out.mp4"), cause := OSError(number, reason))
    error.__cause__ = cause
    return error


FULL = broken("No space left on device", errno.ENOSPC)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def reaches(worker: SinkWorker, state: WorkerState) -> None:
    until(lambda: worker.health().state == state)


def put(worker: SinkWorker, *indices: int) -> None:
    for index in indices:
        worker.put(make_result(index=index), undrawn)


def put_and_wait(worker: SinkWorker, *indices: int) -> None:
    """One by one, each once the one before is dealt with."""
    for index in indices:
        before = done(worker)
        put(worker, index)
        until(lambda: done(worker) > before)  # noqa: B023 — within the turn


def done(worker: SinkWorker) -> int:
    health = worker.health()
    return health.written + health.dropped


Opened = Callable[[SinkWorker], SinkWorker]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens workers, and closes them at the end of a test."""
    workers: list[SinkWorker] = []

    def add(worker: SinkWorker) -> SinkWorker:
        workers.append(worker)
        worker.open()
        return worker

    yield add
    for worker in workers:
        assert worker.close(PATIENCE_S)


def retried(sink: Steered, pauses: Pauses, name: str | None = None) -> SinkWorker:
    return SinkWorker(sink, name=name, now=pauses.now, wait=pauses.wait)


def test_results_come_in_order_and_the_sink_is_finished(opened: Opened) -> None:
    sink = Steered()
    worker = opened(SinkWorker(sink, name="door: lines", capacity=100))
    put(worker, *range(50))
    assert worker.close(PATIENCE_S)
    assert sink.indices == list(range(50))
    assert sink.exits == [None]
    health = worker.health()
    assert (health.name, health.state, health.written) == ("door: lines", "closed", 50)
    assert (health.dropped, health.restarts, health.error) == (0, 0, None)


def test_a_slow_sink_delays_nobody_and_gets_the_newest(opened: Opened) -> None:
    sink = Steered()
    sink.let.clear()
    worker = opened(SinkWorker(sink, capacity=3))
    put(worker, 0)
    assert sink.busy.wait(PATIENCE_S)
    put(worker, *range(1, 100))  # returns, though the sink does not
    assert worker.health().dropped == 97
    sink.let.set()
    until(lambda: worker.health().written == 3)
    assert sink.indices == [0, 98, 99]


@pytest.mark.parametrize("state", ["open", "waiting"])
def test_no_more_results_are_held_than_the_capacity(opened: Opened, state: WorkerState) -> None:
    class Forgetful(Steered):
        def write(self, result: Result, picture: Picture) -> None:
            super().write(result, picture)
            self.results.clear()

    sink = Forgetful(*([broken()] if state == "waiting" else []))
    worker = opened(SinkWorker(sink, capacity=4, wait=Pauses(most=0).wait))
    if state == "waiting":
        put(worker, 0)
        reaches(worker, "waiting")
    sink.let.clear()
    alive: list[weakref.ref[Image]] = []
    for index in range(300):
        image = plain(4, 4, (0, 0, 0))
        alive.append(weakref.ref(image))
        worker.put(make_result(image, index), undrawn)
        del image
        gc.collect(0)
        assert sum(ref() is not None for ref in alive) <= 4
    sink.let.set()
    assert worker.close(PATIENCE_S)
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 0


def test_a_picture_is_drawn_in_the_workers_thread_and_never_for_what_is_dropped(
    opened: Opened,
) -> None:
    sink = Steered(wants_picture=True)
    sink.let.clear()
    worker = opened(SinkWorker(sink, capacity=2))
    drawn: list[tuple[int, bool]] = []

    def draw(index: int) -> Image:
        drawn.append((index, threading.current_thread() is threading.main_thread()))
        return plain(2, 2, (1, 2, 3))

    for index in range(9):
        worker.put(make_result(index=index), Picture(partial(draw, index)))
        assert sink.busy.wait(PATIENCE_S)
    sink.let.set()
    until(lambda: worker.health().written == 2)
    assert drawn == [(0, False), (8, False)]
    assert all(image is not None and image.shape == (2, 2, 3) for image in sink.pictures)


def test_a_picture_that_cannot_be_drawn_costs_no_file(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Steered(wants_picture=True)
    worker = opened(SinkWorker(sink, name="door: recording"))
    put_and_wait(worker, 0, 1, 2)
    worker.put(make_result(index=7), black)
    until(lambda: done(worker) == 4)
    assert sink.indices == [7] and sink.exits == []
    assert worker.health().dropped == 3
    assert [record.message for record in caplog.records] == [
        "door: recording: a picture that cannot be drawn: AssertionError: nobody wanted a picture"
    ]


def test_a_sink_that_failed_is_closed_and_reopened(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = broken(), broken()
    sink, pauses = Steered(None, first, None, None, None, None, second), Pauses()
    worker = opened(retried(sink, pauses, "door: lines"))
    put_and_wait(worker, 0, 1, 2, 3)
    assert len(caplog.records) == 1
    pauses.now_s += LONGEST_PAUSE_S
    put_and_wait(worker, 4, 5)
    error = "out.mp4 cannot be written: Input/output error."
    failed = f"door: lines failed and will be retried: {error}"
    assert caplog.messages == [failed, "door: lines has recovered; 1 results were lost"]
    put_and_wait(worker, 6, 7)
    assert caplog.messages[2:] == [failed]
    assert sink.indices == [0, 2, 3, 4, 5, 7]
    assert sink.exits == [first, second] and sink.entered == 3
    assert pauses.taken == [1.0, 1.0]  # short again once it worked for long
    health = worker.health()
    assert (health.state, health.written, health.dropped, health.restarts) == ("open", 6, 2, 2)
    assert health.error == error


def test_any_exception_is_survived_also_while_closing(opened: Opened) -> None:
    sink = Steered(ZeroDivisionError("division by zero"))

    def stubborn() -> None:
        if len(sink.exits) == 1:
            raise broken()

    sink.on_exit = stubborn
    worker = opened(retried(sink, Pauses()))
    put_and_wait(worker, 0, 1)
    assert sink.indices == [1]
    assert worker.health().error == "ZeroDivisionError: division by zero"


IO, GONE = "Input/output error.", "No such device."
RETRIES = {
    "lasting": ([broken()], [broken()] * 8, [1], 9, [IO]),
    "again and again": ([broken(), None] * 10, [], list(range(1, 20, 2)), 10, [IO]),
    "another": (
        [broken()],
        [broken(), broken("No such device", errno.ENODEV), broken()],
        [1],
        4,
        [IO, GONE, IO],
    ),
}


@pytest.mark.parametrize(
    ("failures", "refusals", "written", "pauses", "logged"), RETRIES.values(), ids=RETRIES.keys()
)
def test_a_problem_is_logged_once_and_retried_ever_more_slowly(
    opened: Opened,
    caplog: pytest.LogCaptureFixture,
    failures: list[Exception | None],
    refusals: list[Exception],
    written: list[int],
    pauses: int,
    logged: list[str],
) -> None:
    caplog.set_level(logging.INFO)
    sink, clock = Steered(*failures), Pauses()
    worker = opened(retried(sink, clock))
    sink.refusals = list(refusals)
    put_and_wait(worker, *range(max(2, len(failures))))
    assert sink.indices == written
    assert clock.taken == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60][:pauses]
    assert sink.entered == 1 + pauses
    assert [record.message.rpartition(": ")[2] for record in caplog.records] == logged


def test_after_a_pause_the_newest_results_are_written(opened: Opened) -> None:
    over = threading.Event()
    sink = Steered(broken())
    worker = opened(SinkWorker(sink, capacity=4, wait=lambda *_: over.wait(PATIENCE_S)))
    put_and_wait(worker, 0)
    put(worker, *range(1, 10))
    over.set()
    until(lambda: done(worker) == 10)
    assert sink.indices == [6, 7, 8, 9]


def test_a_pause_ends_when_it_is_closed(opened: Opened) -> None:
    sink = Steered(broken())
    worker = opened(retried(sink, Pauses(most=0)))
    put(worker, 0)
    reaches(worker, "waiting")
    put(worker, *range(1, 10))
    assert worker.close(PATIENCE_S)
    assert (worker.health().written, worker.health().dropped) == (0, 10)
    assert sink.entered == 1


PERMANENT = {
    "full": (FULL, "the disk is full"),
    "quota": (broken("Disk quota exceeded", errno.EDQUOT), "the disk quota is used up"),
    "read-only": (broken("Read-only file system", errno.EROFS), "the disk is read-only"),
    "refused": (SinkError("out.mp4 is the source itself."), "is the source itself"),
    "unworded": (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    "no reader": (BrokenPipeError(), "its reader has closed it."),
}


def test_what_passes_is_retried_until_it_turns_out_to_be_permanent(opened: Opened) -> None:
    sink = Steered(broken("File too large", errno.EFBIG))
    worker = opened(retried(sink, Pauses()))
    sink.refusals = [broken(), ValueError("a bug"), FULL]
    put(worker, 0)
    reaches(worker, "stopped")
    assert sink.entered == 4


@pytest.mark.parametrize(("failure", "reason"), PERMANENT.values(), ids=PERMANENT.keys())
def test_what_only_a_person_can_change_stops_it_with_one_line(
    opened: Opened, caplog: pytest.LogCaptureFixture, failure: Exception, reason: str
) -> None:
    caplog.set_level(logging.INFO)
    sink = Steered(None, failure)
    worker = opened(retried(sink, Pauses(), "recording"))
    put_and_wait(worker, 0, 1)
    reaches(worker, "stopped")
    put(worker, *range(2, 100))
    until(lambda: done(worker) == 100)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("recording stopped; detection continues: ") and reason in line
    assert sink.exits == [failure] and sink.entered == 1
    assert (worker.health().written, worker.health().dropped) == (1, 99)
    assert worker.close(PATIENCE_S)
    assert worker.health().state == "stopped" and len(caplog.records) == 1


def test_the_reader_of_standard_output_left(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    gone = threading.Event()
    with open(writing, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        worker = opened(SinkWorker(JsonLinesSink("-"), on_gone=gone.set))
        put_and_wait(worker, 0)
        assert os.read(reading, 100_000).endswith(b"}\n")
        os.close(reading)
        assert not gone.is_set()
        put(worker, 1)
        assert gone.wait(PATIENCE_S)
        reaches(worker, "stopped")
        assert worker.close(PATIENCE_S)
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):  # of what is left in the buffer
            stdout.close()
    assert caplog.records == []


def test_it_is_opened_once_with_room_for_two_and_at_a_place_that_can_be_written(
    opened: Opened, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="2 or more"):
        SinkWorker(Steered(), capacity=1)
    worker = opened(SinkWorker(Steered()))
    with pytest.raises(ValueError, match="once"):
        worker.open()
    worker = SinkWorker(RecordingSink(tmp_path / "absent" / "out.mp4"))
    with pytest.raises(SinkError, match="there is no folder"):
        worker.open()
    assert worker.health().state == "new"
    assert worker.close(0.0)
    put(worker, 0)
    assert worker.health().dropped == 1


def test_a_sink_that_does_not_return_is_left_behind() -> None:
    sink = Steered()
    sink.let.clear()
    worker = SinkWorker(sink)
    worker.open()
    put(worker, 0, 1, 2)
    assert sink.busy.wait(PATIENCE_S)
    assert not worker.close(0.05)
    assert sink.exits == []
    sink.let.set()  # it returns after all: the file is finished
    assert worker.join(PATIENCE_S)
    assert sink.exits == [None]
    assert sink.indices == [0]
    assert (worker.health().written, worker.health().dropped) == (1, 2)


def test_closing_writes_what_waits_while_the_time_allows() -> None:
    pauses = Pauses()

    class Slow(Steered):
        def write(self, result: Result, picture: Picture) -> None:
            super().write(result, picture)
            pauses.now_s += 1.0

    sink = Slow()
    sink.let.clear()
    worker = SinkWorker(sink, capacity=10, now=pauses.now)
    worker.open()
    put(worker, *range(10))
    assert sink.busy.wait(PATIENCE_S)
    worker.begin_close(within_s=8.0)  # half of it for results of a second each
    worker.begin_close(within_s=80.0)  # the first call counts
    sink.let.set()
    assert worker.join(PATIENCE_S)
    assert sink.indices == [0, 1, 2, 3]
    assert sink.exits == [None]
    assert worker.health().dropped == 6


def test_a_file_that_cannot_be_finished_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def unfinished() -> None:
        raise FULL

    sink = Steered()
    sink.on_exit = unfinished
    worker = SinkWorker(sink, name="recording")
    worker.open()
    assert worker.close(PATIENCE_S)
    assert "recording was not finished: out.mp4 cannot be written: the disk is full" in caplog.text
