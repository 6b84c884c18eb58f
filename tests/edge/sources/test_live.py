from __future__ import annotations

import gc
import logging
import math
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from edge.errors import (
    CodecError,
    NetworkError,
    SourceEnded,
)
from edge.sources import open_source
from edge.sources.live import LiveSource, Silence
from edge.sources.policy import Limits, ReconnectPolicy
from edge.types import Frame, Image
from tests.edge.sources.clips import (
    jpeg,
    nothing_left_behind,
    write_clip,
)
from tests.fakes import FakeCamera, FakeCapture, FakeClock, Turn, grey, wait_for
from tests.servers import motion_jpeg, rtsp_server

PATIENT = Limits(open_s=60, frame_s=60, read_s=60)
HASTY = Limits(open_s=0.2, frame_s=0.3, read_s=0.6, grace_s=0.2)
QUICK = ReconnectPolicy(quick_s=0.05, medium_s=0.05, slow_s=0.05, jitter=0)
ONCE = ReconnectPolicy(retries=0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 50)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What fakes wait for; opened at the end, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


never = gate
"""Another one, for the last step of a fake that is to stay as it is."""


settling = partial(nothing_left_behind, 20)
"""Waits at the end until no thread and no file is left that was not there before."""


def steady(first: int = 1) -> Iterator[Image | float]:
    """Steps of a capture that gives frames until it is closed, or for half a minute."""
    for index in range(1000):
        yield grey((first + index) % 250)
        yield 0.03


def door(
    camera: FakeCamera,
    limits: Limits = PATIENT,
    retry: ReconnectPolicy = QUICK,
    **clock: Callable[[], float],
) -> LiveSource:
    return LiveSource("door", camera, limits, retry, **clock)


def rising(frames: list[Frame]) -> bool:
    """Whether the frames' places and times rise."""
    places = [(frame.index, -1.0 if frame.pts is None else frame.pts) for frame in frames]
    return all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(places))


def next_news(source: LiveSource, within_s: float = 20.0) -> Frame | Silence:
    """Poll until there is something."""
    deadline = time.monotonic() + within_s
    while (news := source.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return news


def next_frame(source: LiveSource) -> Frame:
    """Poll until there is a frame, whatever silences come before."""
    while not isinstance(news := next_news(source), Frame):
        pass
    return news


def next_silence(source: LiveSource) -> Silence:
    """Poll until there is a silence, whatever frames come before."""
    while not isinstance(news := next_news(source), Silence):
        pass
    return news


# With steered captures


def test_entering_returns_at_once_and_the_camera_may_be_absent(gate: threading.Event) -> None:
    with door(FakeCamera(Turn([grey(1)], wait=gate))) as source:
        assert source.poll() is None
        assert source.health().state == "opening"
        assert (source.kind, source.length, source.fps, source.ended) == ("live", None, None, False)
        gate.set()
        assert next_frame(source).image.mean() == 1


def test_only_the_newest_frame_is_kept_and_only_what_is_taken_is_converted(
    gate: threading.Event,
) -> None:
    camera = FakeCamera(Turn([*(grey(value) for value in range(10)), gate, grey(99), gate]))
    with nothing_left_behind(), door(camera) as source:
        wait_for(lambda: source.received == 10)
        assert (source.waiting, source.ended) == (True, False)
        frame = next_frame(source)
        assert (frame.index, frame.image.mean(), frame.source) == (9, 9, "door")
        assert (source.waiting, source.ended) == (False, False)
        assert source.poll() is None
        gate.set()
        assert next_frame(source).index == 10
        health = source.health()
    assert (health.received, health.skipped, health.old, health.corrupt) == (11, 9, 0, 0)
    assert camera.converted == 2
    assert camera.threads == ["patchwatch-source"], "a name that tells nothing of the source"


def test_one_shot_at_most_is_held(gate: threading.Event) -> None:
    made: list[weakref.ref[Image]] = []

    def pictures() -> Iterator[Image | threading.Event]:
        for value in range(5):
            picture = grey(value)
            made.append(weakref.ref(picture))
            yield picture
            del picture
        yield gate

    def held() -> int:
        gc.collect()
        return sum(picture() is not None for picture in made)

    with door(FakeCamera(Turn(pictures()))) as source:
        wait_for(lambda: source.received == 5)
        wait_for(lambda: held() == 1)
        next_frame(source)
        assert held() == 0
        gate.set()


def test_times_of_frames(gate: threading.Event) -> None:
    clock = FakeClock(now_s=50.0, unix_s=7_000.0)
    camera = FakeCamera(Turn([grey(0), gate, grey(1)], fps=12.5), clock=clock.now)
    with door(camera, now=clock.now, unix=clock.unix) as source:
        first = next_frame(source)
        clock.pass_s(2.0)
        gate.set()
        second = next_frame(source)
        assert source.fps == 12.5
    assert (first.pts, first.captured_at) == (0.0, 7_000.0)
    assert second.pts == pytest.approx(2.0)
    assert second.captured_at == pytest.approx(7_002.0)


def test_an_open_that_blocks_is_left_behind_and_closes_what_it_gets_too_late(
    gate: threading.Event,
) -> None:
    camera = FakeCamera(Turn([grey(9)], wait=gate), Turn(steady()))
    with settling(), door(camera, HASTY) as source:
        assert re.match(r"door: no (frame|answer)", next_silence(source).error or "")
        assert next_frame(source).image.mean() >= 1
        assert source.health().abandoned == 1
        gate.set()
        wait_for(lambda: source.health().abandoned == 0)
        assert (camera.opened, camera.closed) == (2, 1)


def test_a_read_that_blocks_is_left_behind(gate: threading.Event) -> None:
    camera = FakeCamera(Turn([grey(0), gate, grey(251)]), Turn(steady()))
    with settling(), door(camera, HASTY) as source:
        assert next_frame(source).index == 0
        assert next_silence(source).fault == "timeout"
        assert next_frame(source).index >= 1
        assert source.health().abandoned == 1
        assert source.health().reconnects == 1
        gate.set()
        wait_for(lambda: source.health().abandoned == 0)
        assert (camera.opened, camera.closed) == (2, 1)
        frame = next_frame(source)
        assert frame.image.mean() == frame.index % 250, "what came too late was not counted"


def test_tries_are_exhausted_and_that_is_told_whenever_it_is_asked() -> None:
    woken = threading.Event()
    with nothing_left_behind():
        with door(FakeCamera(), retry=ReconnectPolicy(retries=2, quick_s=0.01)) as source:
            source.subscribe(woken.set)
            wait_for(lambda: source.health().state == "failed")
            woken.clear()
            assert source.next_poll_s() <= time.monotonic()
            for _ in range(2):
                with pytest.raises(NetworkError, match=r"refused\. Given up after 2 retries\."):
                    while True:
                        source.poll()
            assert source.next_poll_s() == math.inf
        assert source.poll() is None


def test_the_last_frame_comes_before_the_error() -> None:
    camera = FakeCamera(Turn([grey(0), CodecError("door: damaged.")]))
    with door(camera, retry=ONCE) as source:
        wait_for(lambda: source.health().state == "failed")
        assert isinstance(source.poll(), Frame)
        with pytest.raises(CodecError, match=r"^door: damaged\.$"):
            source.poll()


def test_a_recording_ends_after_its_last_frame_was_taken(gate: threading.Event) -> None:
    camera = FakeCamera(Turn([grey(0), gate, grey(1), None]))
    with nothing_left_behind(), door(camera) as source:
        next_frame(source)
        gate.set()
        wait_for(lambda: source.health().state == "ended")
        assert (source.waiting, source.ended) == (True, False)
        assert next_frame(source).index == 1
        assert (source.waiting, source.ended) == (False, True)
        assert source.poll() is None
        assert source.next_poll_s() == math.inf


def test_whoever_subscribed_is_woken_for_frames_and_the_end(
    gate: threading.Event, never: threading.Event
) -> None:
    woken = threading.Event()

    def wakes() -> bool:
        found = woken.wait(20)
        woken.clear()
        return found

    camera = FakeCamera(Turn([grey(0), gate, grey(1), never, None]))
    source = door(camera, Limits(frame_s=0.2))
    source.subscribe(woken.set)
    with source:
        assert wakes() and isinstance(source.poll(), Frame)
        assert source.next_poll_s() <= time.monotonic() + 0.2
        assert isinstance(next_news(source), Silence)
        gate.set()
        while not isinstance(source.poll(), Frame):
            assert wakes()
        never.set()
        while not source.ended:
            assert wakes()


@pytest.mark.parametrize("where", ["open", "read", "close"])
def test_leaving_is_bounded_whatever_blocks(gate: threading.Event, where: str) -> None:
    turns = {
        "open": Turn([gate], wait=gate),
        "read": Turn([grey(0), gate, grey(1)]),
        "close": Turn([SourceEnded("door: over.")], close_wait=gate),
    }
    camera = FakeCamera(turns[where])
    with settling():
        with door(camera) as source:
            reached = {
                "open": lambda: len(camera.threads) == 1,
                "read": lambda: source.received == 1,
                "close": lambda: source.health().failures == 1,
            }
            wait_for(reached[where])
        assert camera.closed == 0
        gate.set()
        wait_for(lambda: camera.closed == 1)
    assert camera.opened == 1, "nothing is opened after leaving"
    assert not source.waiting, "nor is a frame kept"
    assert source.poll() is None


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (ValueError("rtsp://joe:secret@door"), "a frame cannot be converted (ValueError)"),
        (CodecError("pixels of the kind xyz cannot be converted."), "pixels of the kind xyz"),
    ],
)
def test_a_frame_that_cannot_be_converted_is_counted_and_logged(
    gate: threading.Event, caplog: pytest.LogCaptureFixture, error: Exception, logged: str
) -> None:
    def corrupt() -> Image:
        raise error

    with door(FakeCamera(Turn([corrupt, gate, grey(1), gate]))) as source:
        wait_for(lambda: source.waiting)
        assert source.poll() is None
        assert source.health().corrupt == 1
        gate.set()
        assert next_frame(source).index == 1
    assert f"door: {logged}" in caplog.text
    assert "secret" not in caplog.text


def test_frames_of_which_none_can_be_converted_are_a_silence() -> None:
    def corrupt() -> Image:
        raise MemoryError

    steps = [step for _ in range(1500) for step in (corrupt, 0.01)]
    with door(FakeCamera(Turn(steps)), Limits(frame_s=2.0)) as source:
        silence = next_silence(source)
        assert silence == Silence("door: a frame cannot be converted (MemoryError).", "codec")
        assert source.health().state == "streaming"


def test_what_it_did_not_expect_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    camera = FakeCamera(Turn(error=ValueError("rtsp://joe:secret@door")))
    with door(camera) as source:
        silence = next_silence(source)
    assert silence == Silence("door: reading it failed (ValueError).", "other")
    assert "secret" not in caplog.text


def test_errors_hold_nothing_of_what_failed() -> None:
    """Their tracebacks would keep the connection of a capture that is long dead."""
    held: list[weakref.ref[Image]] = []

    def refuse() -> FakeCapture:
        picture = grey(0)
        held.append(weakref.ref(picture))
        try:
            raise OSError("reset")
        except OSError as error:
            raise NetworkError("door: it broke.") from error

    with LiveSource("door", refuse, PATIENT, QUICK) as source:
        next_silence(source)
        gc.collect()
        assert all(picture() is None for picture in held)


def test_a_system_without_threads_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "patchwatch-source":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    camera = FakeCamera(Turn([grey(0)]))
    with door(camera) as source:
        assert "the system gives no thread" in (next_silence(source).error or "")
        monkeypatch.undo()
        assert next_frame(source).index == 0


def test_a_change_of_size_is_logged(
    caplog: pytest.LogCaptureFixture, gate: threading.Event
) -> None:
    caplog.set_level(logging.INFO)
    camera = FakeCamera(Turn([grey(0, 480, 640), 0.1, grey(1, 1080, 1920), gate]))
    with door(camera) as source:
        while next_frame(source).size_hw != (1080, 1920):
            pass
        told = list(caplog.messages)
        gate.set()
    assert told == ["door changed its size to 1920×1080 (was 640×480)"]


# With real servers


def opened(text: str, limits: Limits = PATIENT, retry: ReconnectPolicy = QUICK) -> LiveSource:
    source = open_source(text, name="door", limits=limits, retry=retry, as_live=True)
    assert isinstance(source, LiveSource)
    return source


@pytest.mark.parametrize("ending", ["rtsp", "http"])
def test_the_end_of_a_stream_is_the_beginning_of_the_next(clip: Path, ending: str) -> None:
    served = (
        rtsp_server(clip, once=True)
        if ending == "rtsp"
        else motion_jpeg([jpeg(index) for index in range(20)], loop=False)
    )
    with settling(), served as url, opened(url) as source:
        frames = [next_frame(source)]
        while source.health().reconnects < 2:
            frames.append(next_frame(source))
    assert rising(frames)
