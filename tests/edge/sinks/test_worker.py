from __future__ import annotations

import errno
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import Self

from edge.errors import SinkError
from edge.sinks.images import ImagesSink
from edge.sinks.jsonl import JsonLinesSink
from edge.sinks.paths import sink_error
from edge.sinks.video import VideoSink
from edge.sinks.worker import (
    LONGEST_PAUSE_S,
    Backoff,
    SinkWorker,
    WorkerState,
    is_permanent,
)
from edge.types import Image, Picture, Result
from tests.edge.sinks.results import make_result, moving, plain
from tests.fakes import FakeSink

PATIENCE_S = 60.0


class Steered(FakeSink):
    """Fails as it is told, and takes a result only when it is let."""

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

    def __enter__(self) -> Self:
        self.entered += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return self

    def __exit__(self, *args: object) -> None:
        error = args[1]
        assert error is None or isinstance(error, BaseException)
        self.exits.append(error)

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


class Forgetful(Steered):
    """Keeps no result."""

    def write(self, result: Result, picture: Picture) -> None:
        super().write(result, picture)
        self.results.clear()
        self.pictures.clear()


class Pauses:
    """A clock that goes on only while an outlet waits, which takes no time."""

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


def broken(reason: str = "Input/output error", number: int = errno.EIO) -> SinkError:
    """As a sink says it: in words, with the system's own as the cause."""
    error = sink_error(Path("out.mp4"), cause := OSError(number, reason))
    error.__cause__ = cause
    return error


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def reaches(outlet: SinkWorker, state: WorkerState) -> None:
    until(lambda: outlet.health().state == state)


def put(outlet: SinkWorker, *indices: int) -> None:
    for index in indices:
        outlet.put(make_result(index=index), undrawn)


def put_and_wait(outlet: SinkWorker, *indices: int) -> None:
    """One by one, each once the one before is dealt with."""
    for index in indices:
        before = outlet.health()
        put(outlet, index)
        until(lambda: done(outlet) > before.written + before.dropped)  # noqa: B023 — within the turn


def done(outlet: SinkWorker) -> int:
    health = outlet.health()
    return health.written + health.dropped


@pytest.fixture
def opened() -> Iterator[Callable[[SinkWorker], SinkWorker]]:
    """Opens outlets, and closes them at the end of a test."""
    outlets: list[SinkWorker] = []

    def add(outlet: SinkWorker) -> SinkWorker:
        outlets.append(outlet)
        outlet.open()
        return outlet

    yield add
    for outlet in outlets:
        assert outlet.close(PATIENCE_S)


Opened = Callable[[SinkWorker], SinkWorker]


def test_results_come_in_order_and_the_sink_is_finished(opened: Opened) -> None:
    sink = Steered()
    outlet = opened(SinkWorker(sink, name="door: lines", capacity=100))
    put(outlet, *range(50))
    assert outlet.close(PATIENCE_S)
    assert sink.indices == list(range(50))
    assert sink.exits == [None]
    health = outlet.health()
    assert (health.name, health.state, health.written) == ("door: lines", "closed", 50)
    assert (health.dropped, health.restarts, health.error) == (0, 0, None)


def test_a_slow_sink_holds_nobody_up_and_sees_the_newest(opened: Opened) -> None:
    sink = Steered()
    sink.let.clear()
    outlet = opened(SinkWorker(sink, capacity=3))
    put(outlet, 0)
    assert sink.busy.wait(PATIENCE_S)
    put(outlet, *range(1, 100))  # returns, though the sink does not
    assert outlet.health().dropped == 97
    sink.let.set()
    until(lambda: outlet.health().written == 3)
    assert sink.indices == [0, 98, 99]


@pytest.mark.parametrize("state", ["open", "waiting"])
def test_no_more_results_are_held_than_it_was_told(opened: Opened, state: WorkerState) -> None:
    sink = Forgetful(*([broken()] if state == "waiting" else []))
    outlet = opened(SinkWorker(sink, capacity=4, restart=lambda: sink, wait=Pauses(most=0).wait))
    if state == "waiting":
        put(outlet, 0)
        reaches(outlet, "waiting")
    sink.let.clear()
    alive: list[weakref.ref[Image]] = []
    for index in range(1000):
        image = plain(4, 4, (0, 0, 0))
        alive.append(weakref.ref(image))
        outlet.put(make_result(image, index), undrawn)
        del image
        gc.collect(0)
        assert sum(ref() is not None for ref in alive) <= 4
    sink.let.set()
    assert outlet.close(PATIENCE_S)
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 0


def test_it_needs_room_for_one_in_hand_and_one_that_waits() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        SinkWorker(Steered(), capacity=1)


def test_a_picture_is_drawn_for_a_sink_that_wants_one_in_the_outlets_thread(opened: Opened) -> None:
    sink = Steered(wants_picture=True)
    outlet = opened(SinkWorker(sink))
    drawers: list[int] = []

    def draw() -> Image:
        drawers.append(threading.get_ident())
        return plain(2, 2, (1, 2, 3))

    outlet.put(make_result(), Picture(draw))
    until(lambda: outlet.health().written == 1)
    (picture,) = sink.pictures
    assert picture is not None and picture.shape == (2, 2, 3)
    assert len(drawers) == 1 and drawers[0] != threading.get_ident()


def test_what_is_dropped_is_never_drawn(opened: Opened) -> None:
    sink = Steered(wants_picture=True)
    sink.let.clear()
    outlet = opened(SinkWorker(sink, capacity=2))
    drawn: list[int] = []

    def draw(index: int) -> Picture:
        def picture() -> Image:
            drawn.append(index)
            return plain(2, 2, (0, 0, 0))

        return Picture(picture)

    outlet.put(make_result(index=0), draw(0))
    assert sink.busy.wait(PATIENCE_S)
    for index in range(1, 9):
        outlet.put(make_result(index=index), draw(index))
    sink.let.set()
    until(lambda: outlet.health().written == 2)
    assert drawn == [0, 8]


class Seldom(Steered):
    """Draws at every third result."""

    def write(self, result: Result, picture: Picture) -> None:
        if result.frame.index % 3 == 0:
            picture()
        super().write(result, picture)


def test_a_sink_may_draw_when_it_needs_to(opened: Opened) -> None:
    drawn: list[int] = []

    def picture(index: int) -> Picture:
        return Picture(lambda: drawn.append(index) or plain(2, 2, (0, 0, 0)))  # type: ignore[func-returns-value]  # short

    outlet = opened(SinkWorker(Seldom(), capacity=10))
    for index in range(6):
        outlet.put(make_result(index=index), picture(index))
    until(lambda: outlet.health().written == 6)
    assert drawn == [0, 3]


def test_a_picture_that_cannot_be_drawn_costs_no_file(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Steered(wants_picture=True)
    outlet = opened(SinkWorker(sink, name="door: recording"))
    for _ in range(3):
        outlet.put(make_result(), undrawn)
    outlet.put(make_result(index=7), Picture.of(plain(2, 2, (0, 0, 0))))
    until(lambda: done(outlet) == 4)
    assert sink.indices == [7] and sink.exits == []
    assert outlet.health().dropped == 3
    assert [record.message for record in caplog.records] == [
        "door: recording: a picture that cannot be drawn: AssertionError: nobody wanted a picture"
    ]


def test_a_sink_that_failed_is_closed_and_opened_again(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink = Steered(None, failure := broken())
    pauses = Pauses()
    outlet = opened(
        SinkWorker(sink, name="door: lines", restart=lambda: sink, now=pauses.now, wait=pauses.wait)
    )
    put_and_wait(outlet, 0, 1, 2, 3)
    assert len(caplog.records) == 1
    pauses.now_s += LONGEST_PAUSE_S
    put_and_wait(outlet, 4, 5)
    assert sink.indices == [0, 2, 3, 4, 5]
    assert sink.exits == [failure] and sink.entered == 2
    assert pauses.taken == [1.0]
    health = outlet.health()
    assert (health.state, health.written, health.dropped, health.restarts) == ("open", 5, 1, 1)
    assert health.error == "out.mp4 cannot be written: Input/output error."
    assert [record.message for record in caplog.records] == [
        "door: lines failed and will be retried: out.mp4 cannot be written: Input/output error.",
        "door: lines has recovered; 1 results were lost",
    ]


def test_a_sink_that_cannot_even_be_closed_is_opened_again(opened: Opened) -> None:
    class Stubborn(Steered):
        def __exit__(self, *args: object) -> None:
            super().__exit__(*args)
            if len(self.exits) == 1:
                raise broken()

    sink = Stubborn(broken())
    outlet = opened(SinkWorker(sink, restart=lambda: sink, wait=Pauses().wait))
    put_and_wait(outlet, 0, 1)
    assert sink.indices == [1] and len(sink.exits) == 1


def test_any_exception_of_a_sink_is_survived(opened: Opened) -> None:
    sink = Steered(ZeroDivisionError("division by zero"))
    outlet = opened(SinkWorker(sink, restart=lambda: sink, wait=Pauses().wait))
    put_and_wait(outlet, 0, 1)
    assert sink.indices == [1]
    assert outlet.health().error == "ZeroDivisionError: division by zero"


def test_a_trouble_that_lasts_is_said_once_and_tried_ever_more_slowly(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Steered(broken())
    pauses = Pauses()
    outlet = opened(SinkWorker(sink, restart=lambda: sink, now=pauses.now, wait=pauses.wait))
    sink.refusals = [broken() for _ in range(8)]
    put_and_wait(outlet, 0, 1)
    assert pauses.taken == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert sink.entered == 10 and sink.indices == [1]
    assert outlet.health().restarts == 1
    assert len(caplog.records) == 1


def test_a_sink_that_fails_again_and_again_is_said_once(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink = Steered(*[broken(), None] * 10)
    pauses = Pauses()
    outlet = opened(SinkWorker(sink, restart=lambda: sink, now=pauses.now, wait=pauses.wait))
    put_and_wait(outlet, *range(20))
    assert sink.indices == list(range(1, 20, 2))
    assert pauses.taken == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert len(caplog.records) == 1


def test_another_trouble_is_said_too(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    sink = Steered(broken())
    outlet = opened(SinkWorker(sink, restart=lambda: sink, wait=Pauses().wait))
    sink.refusals = [broken(), broken("No such device", errno.ENODEV), broken()]
    put_and_wait(outlet, 0, 1)
    reasons = [record.message.rpartition(": ")[2] for record in caplog.records]
    assert reasons == ["Input/output error.", "No such device.", "Input/output error."]


def test_after_a_pause_the_newest_results_are_written(opened: Opened) -> None:
    over = threading.Event()
    sink = Steered(broken())
    outlet = opened(
        SinkWorker(sink, capacity=4, restart=lambda: sink, wait=lambda *_: over.wait(PATIENCE_S))
    )
    put(outlet, 0)
    reaches(outlet, "waiting")
    until(lambda: outlet.health().dropped == 1)
    put(outlet, *range(1, 10))
    over.set()
    until(lambda: done(outlet) == 10)
    assert sink.indices == [6, 7, 8, 9]


def test_a_pause_ends_when_it_is_closed(opened: Opened) -> None:
    sink = Steered(broken())
    outlet = opened(SinkWorker(sink, restart=lambda: sink, wait=Pauses(most=0).wait))
    put(outlet, 0)
    reaches(outlet, "waiting")
    put(outlet, *range(1, 10))
    assert outlet.close(PATIENCE_S)
    assert (outlet.health().written, outlet.health().dropped) == (0, 10)
    assert sink.entered == 1


PERMANENT = {
    "full": (broken("No space left on device", errno.ENOSPC), "the disk is full"),
    "quota": (broken("Disk quota exceeded", errno.EDQUOT), "the disk quota is used up"),
    "read-only": (broken("Read-only file system", errno.EROFS), "the disk is read-only"),
    "refused": (SinkError("out.mp4 is the source itself."), "is the source itself"),
    "unworded": (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
}


@pytest.mark.parametrize(("failure", "reason"), PERMANENT.values(), ids=PERMANENT.keys())
def test_what_only_a_person_can_change_stops_it_with_one_line(
    opened: Opened, caplog: pytest.LogCaptureFixture, failure: Exception, reason: str
) -> None:
    caplog.set_level(logging.INFO)
    sink = Steered(None, failure)
    outlet = opened(SinkWorker(sink, name="recording", restart=lambda: sink, wait=Pauses().wait))
    put_and_wait(outlet, 0, 1)
    reaches(outlet, "stopped")
    put(outlet, *range(2, 100))
    until(lambda: done(outlet) == 100)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("recording stopped; detection continues: ") and reason in line
    assert sink.exits == [failure] and sink.entered == 1
    health = outlet.health()
    assert (health.state, health.written, health.dropped) == ("stopped", 1, 99)
    assert outlet.close(PATIENCE_S)
    assert outlet.health().state == "stopped" and len(caplog.records) == 1


def test_a_sink_that_must_not_be_opened_again_stops_at_any_failure(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Steered(broken())
    outlet = opened(SinkWorker(sink))
    put(outlet, 0)
    reaches(outlet, "stopped")
    assert "stopped; detection continues" in caplog.text


def test_a_disk_that_is_full_when_it_is_opened_again_stops_it(opened: Opened) -> None:
    sink = Steered(broken())
    outlet = opened(SinkWorker(sink, restart=lambda: sink, wait=Pauses().wait))
    sink.refusals = [broken(), broken("No space left on device", errno.ENOSPC)]
    put(outlet, 0)
    reaches(outlet, "stopped")
    assert sink.entered == 3


def test_passing_troubles_are_told_from_lasting_ones() -> None:
    assert is_permanent(broken("No space left on device", errno.ENOSPC))
    assert is_permanent(SinkError("it must end in .mp4."))
    assert not is_permanent(broken())
    assert not is_permanent(broken("File too large", errno.EFBIG))
    assert not is_permanent(ValueError("a bug"))


def test_the_reader_of_standard_output_left(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    gone = threading.Event()
    with open(writing, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        outlet = opened(SinkWorker(JsonLinesSink("-"), on_gone=gone.set))
        put(outlet, 0)
        until(lambda: outlet.health().written == 1)
        assert os.read(reading, 100_000).endswith(b"}\n")
        os.close(reading)
        assert not gone.is_set()
        put(outlet, 1)
        assert gone.wait(PATIENCE_S)
        reaches(outlet, "stopped")
        assert outlet.close(PATIENCE_S)
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):  # of what is left in the buffer
            stdout.close()
    assert caplog.records == []


def test_a_reader_that_left_is_told_where_nobody_asked(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    outlet = opened(SinkWorker(sink := Steered(BrokenPipeError()), restart=lambda: sink))
    put(outlet, 0)
    reaches(outlet, "stopped")
    assert "stopped; detection continues: its reader has closed it." in caplog.text


def test_a_wrong_path_is_told_before_the_run(tmp_path: Path) -> None:
    outlet = SinkWorker(VideoSink(tmp_path / "absent" / "out.mp4"))
    with pytest.raises(SinkError, match="there is no folder"):
        outlet.open()
    assert outlet.health().state == "new"
    assert outlet.close(0.0)
    put(outlet, 0)
    assert outlet.health().dropped == 1


def test_one_that_was_never_opened_can_be_closed() -> None:
    outlet = SinkWorker(sink := Steered())
    outlet.begin_close()
    assert outlet.join(0.0)
    assert sink.exits == []


def test_it_is_opened_once(opened: Opened) -> None:
    outlet = opened(SinkWorker(Steered()))
    with pytest.raises(ValueError, match="once"):
        outlet.open()


def test_a_sink_that_does_not_return_is_left_behind() -> None:
    sink = Steered()
    sink.let.clear()
    outlet = SinkWorker(sink)
    outlet.open()
    put(outlet, 0, 1, 2)
    assert sink.busy.wait(PATIENCE_S)
    assert not outlet.close(0.05)
    assert sink.exits == []
    sink.let.set()  # it returns after all: the file is finished
    assert outlet.join(PATIENCE_S)
    assert sink.exits == [None]
    assert sink.indices == [0]
    assert (outlet.health().written, outlet.health().dropped) == (1, 2)


def test_closing_writes_what_waits_while_the_time_allows() -> None:
    pauses = Pauses()

    class Slow(Steered):
        def write(self, result: Result, picture: Picture) -> None:
            super().write(result, picture)
            pauses.now_s += 1.0

    sink = Slow()
    sink.let.clear()
    outlet = SinkWorker(sink, capacity=10, now=pauses.now)
    outlet.open()
    put(outlet, *range(10))
    assert sink.busy.wait(PATIENCE_S)
    outlet.begin_close(within_s=8.0)  # half of it for results of a second each
    outlet.begin_close(within_s=80.0)  # the first word counts
    sink.let.set()
    assert outlet.join(PATIENCE_S)
    assert sink.indices == [0, 1, 2, 3]
    assert sink.exits == [None]
    assert outlet.health().dropped == 6


def test_many_close_side_by_side() -> None:
    together = threading.Barrier(4, timeout=PATIENCE_S)

    class Meeting(Steered):
        def __exit__(self, *args: object) -> None:
            together.wait()  # returns only while all four are at it

    outlets = [SinkWorker(Meeting()) for _ in range(4)]
    for outlet in outlets:
        outlet.open()
    for outlet in outlets:
        outlet.begin_close(PATIENCE_S)
    assert all(outlet.join(PATIENCE_S) for outlet in outlets)


def test_a_file_that_cannot_be_finished_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Unfinished(Steered):
        def __exit__(self, *args: object) -> None:
            raise broken("No space left on device", errno.ENOSPC)

    outlet = SinkWorker(Unfinished(), name="recording")
    outlet.open()
    assert outlet.close(PATIENCE_S)
    assert "recording was not finished: out.mp4 cannot be written: the disk is full" in caplog.text


def test_a_folder_that_went_away_and_came_back(opened: Opened, tmp_path: Path) -> None:
    folder, away = tmp_path / "pictures", tmp_path / "away"
    sink = ImagesSink(folder, ".png")

    class Back(Pauses):
        def wait(self, closing: threading.Event, seconds: float) -> None:
            super().wait(closing, seconds)
            away.rename(folder)

    outlet = opened(SinkWorker(sink, restart=lambda: sink, wait=Back().wait))
    picture = next(moving(32, 32, 1))
    for index in range(4):
        if index == 2:
            folder.rename(away)
        outlet.put(make_result(index=index), Picture.of(picture))
        until(lambda index=index: done(outlet) == index + 1)  # type: ignore[misc]  # mypy does not infer it
    assert sorted(path.name for path in folder.iterdir()) == [
        f"camera-0_{index:06d}.png" for index in (0, 1, 3)
    ]


def test_pauses_begin_anew_once_it_went_on_for_long() -> None:
    backoff = Backoff()
    assert backoff.is_fresh(0.0)
    assert [backoff.failed(0.0) for _ in range(4)] == [1, 2, 4, 8]
    backoff.opened(100.0)
    assert not backoff.is_fresh(101.0)
    assert backoff.failed(101.0) == 16
    backoff.opened(200.0)
    assert backoff.is_fresh(200.0 + LONGEST_PAUSE_S)
    assert [backoff.failed(200.0 + LONGEST_PAUSE_S) for _ in range(2)] == [1, 2]
