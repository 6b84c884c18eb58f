from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.errors import ModelError, NetworkError, SinkError
from edge.live.loop import Camera, LiveLoop
from edge.live.views import Controls
from edge.regions import parse_region
from edge.sinks.base import Sink
from edge.sinks.worker import SinkWorker
from edge.sources.live import LiveSource
from edge.sources.policy import Limits, ReconnectPolicy
from edge.types import Image
from tests.fakes import FakeBackend, FakeCamera, FakeSink, FakeView, Step, Turn, grey, wait_for

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.0, min_frames=2)
ONCE = ReconnectPolicy(retries=0)


def make_camera(
    name: str,
    backend: FakeBackend,
    *turns: Turn,
    sinks: Sequence[Sink] = (),
    retry: ReconnectPolicy = ONCE,
    limits: Limits | None = None,
    **more: object,
) -> Camera:
    limits = limits or Limits()
    return Camera(
        name,
        LiveSource(name, FakeCamera(*turns), limits, retry),
        Detector(backend, parse_region("native")),
        QUICK,
        backend.manifest.calibration,
        workers=[SinkWorker(sink) for sink in sinks],
        **more,  # type: ignore[arg-type]  # passed on
    )


def paced(value: int, count: int, every_s: float = 0.01) -> list[Step]:
    """Pictures with pauses between them, then the end of a recording."""
    steps: list[Step] = []
    for _ in range(count):
        steps += [grey(value), every_s]
    return [*steps, None]


def endless(value: int, every_s: float) -> Iterator[Step]:
    while True:
        yield grey(value)
        yield every_s


def throw(error: Exception, *_: object) -> float:
    raise error


def test_each_camera_has_its_own_verdict_and_its_own_sinks() -> None:
    backend = FakeBackend()
    dark, bright = FakeSink(), FakeSink(wants_picture=True)
    cameras = [
        make_camera("dark", backend, Turn(paced(5, 20)), sinks=[dark]),
        make_camera("bright", backend, Turn(paced(250, 20)), sinks=[bright]),
    ]
    with LiveLoop(cameras) as loop:
        loop.run()
    assert {r.frame.source for r in dark.results} == {"dark"}
    assert dark.results[-1].verdict.state == "real"
    assert bright.results[-1].verdict.state == "fake"
    assert all(picture is not None for picture in bright.pictures)
    assert dark.closed and bright.closed
    assert all(r.age_ms is not None and r.age_ms < 5000 for r in dark.results)
    assert (
        cameras[0].summary.frames == cameras[0].source.received - cameras[0].source.health().skipped
    )


def test_a_camera_that_fails_leaves_the_others_alone() -> None:
    backend = FakeBackend()
    sink = FakeSink()
    broken = make_camera(
        "broken", backend, Turn(error=NetworkError("broken: refused.")), sinks=[sink]
    )
    well = make_camera("well", backend, Turn(paced(250, 20)))
    with LiveLoop([broken, well]) as loop:
        loop.run()
    assert well.summary.scored > 5 and well.failed is None
    assert str(broken.failed) == "broken: refused."
    said = {(r.verdict.state, r.error, r.fault) for r in sink.results}
    assert said == {("no_signal", "broken: refused.", "network")}


def test_when_all_were_given_up_the_run_fails_with_the_reason() -> None:
    backend = FakeBackend()
    turn = Turn(error=NetworkError("door: refused."))
    loop = LiveLoop([make_camera("door", backend, turn), make_camera("yard", backend, turn)])
    with pytest.raises(NetworkError, match="door: refused"), loop:
        loop.run()


def test_a_camera_that_comes_back_is_judged_afresh() -> None:
    backend = FakeBackend()
    sink = FakeSink()
    turns = [
        Turn([grey(250), 0.02] * 5),
        Turn(error=NetworkError("door: refused.")),
        Turn(paced(5, 8)),
    ]
    retry = ReconnectPolicy(quick_s=0.15, jitter=0.0)
    limits = Limits(frame_s=0.1)
    camera = make_camera("door", backend, *turns, sinks=[sink], retry=retry, limits=limits)
    with LiveLoop([camera]) as loop:
        loop.run()
    states = [r.verdict.state for r in sink.results]
    assert "fake" in states and states[-1] == "real"
    silent = states.index("no_signal")
    assert "fake" not in states[silent:]
    assert [r.frame.index for r in sink.results if r.evidence] == sorted(
        {r.frame.index for r in sink.results if r.evidence}
    )


def test_a_slow_sink_loses_results_one_that_throws_stops_and_neither_holds_the_others_up() -> None:
    slow, quick = FakeSink(before=partial(time.sleep, 0.3)), FakeSink()
    throws = FakeSink(before=partial(throw, SinkError("the disk is full.")))
    camera = make_camera("door", FakeBackend(), Turn(paced(9, 40)), sinks=[slow, throws, quick])
    with LiveLoop([camera]) as loop:
        loop.run()
    assert camera.summary.scored > 20 and len(quick.results) > 20
    assert len(slow.results) < 15
    assert camera.workers[0].health().dropped > 10
    assert camera.workers[1].health().state == "stopped"


class Wrong(FakeSink):
    def __enter__(self) -> Wrong:
        raise SinkError("no such folder.")


def test_frames_of_different_cameras_are_given_to_the_model_together() -> None:
    backend = FakeBackend()
    view = FakeView()
    cameras = [
        make_camera(f"cam{value}", backend, Turn(paced(value, 30, 0.02)), views=[view])
        for value in range(4)
    ]
    with LiveLoop(cameras, [view], batch=4, wait_s=0.05) as loop:
        loop.run()
    assert max(backend.batches) == 4
    assert sum(backend.batches) == sum(camera.summary.scored for camera in cameras)
    assert view.results
    for name, result in view.results:
        assert result.evidence is not None and result.frame.source == name
        assert result.evidence.logit == int(name[-1]) - 128


def test_a_lone_frame_is_not_kept_waiting_for_long() -> None:
    backend = FakeBackend()
    sink = FakeSink()
    busy = make_camera("busy", backend, Turn(paced(1, 10, 0.1)), sinks=[sink])
    gate = threading.Event()
    idle = make_camera("idle", backend, Turn([gate]))
    controls = Controls()
    with LiveLoop([busy, idle], controls=controls, batch=8, wait_s=0.05) as loop:
        wait_for(lambda: busy.over)
        controls.stop = True
        loop.run()
        gate.set()
    ages = [result.age_ms for result in sink.results if result.age_ms is not None]
    assert len(ages) == 10
    assert sorted(ages)[len(ages) // 2] < 500


def test_under_overload_each_camera_skips_the_same_share() -> None:
    def slow(image: Image) -> float:
        time.sleep(0.01)
        return 0.0

    backend, controls = FakeBackend(slow), Controls()
    cameras = [
        make_camera(f"cam{number}", backend, Turn(endless(9, 0.01)), controls=controls)
        for number in range(5)
    ]
    with LiveLoop(cameras, controls=controls) as loop:
        wait_for(lambda: sum(camera.summary.scored for camera in cameras) >= 250, 30)
        controls.stop = True
        loop.run()
    shares = [camera.summary.scored / camera.source.received for camera in cameras]
    assert max(shares) < 0.9
    assert max(shares) - min(shares) < 0.1 * max(shares)


def test_an_error_of_the_model_ends_the_run() -> None:
    sink, breaks = FakeSink(), FakeBackend(partial(throw, ModelError("the model broke.")))
    camera = make_camera("door", breaks, Turn(endless(1, 0.01)), sinks=[sink])
    with pytest.raises(ModelError, match="broke"), LiveLoop([camera]) as loop:
        loop.run()
    assert sink.closed


def test_a_frame_too_small_for_the_model_is_an_error_and_the_camera_goes_on() -> None:
    sink = FakeSink()
    steps: list[Step] = [grey(9, 2, 2), 0.05, grey(9), 0.05, None]
    camera = make_camera("door", FakeBackend(), Turn(steps), sinks=[sink])
    with LiveLoop([camera]) as loop:
        loop.run()
    assert [r.error is None for r in sink.results] == [False, True]
    assert "at least 5×5" in str(sink.results[0].error)


def test_a_wrong_sink_is_reported_before_anything_begins() -> None:
    first = FakeSink()
    cameras = [
        make_camera("a", FakeBackend(), Turn(endless(1, 0.01)), sinks=[first]),
        make_camera("b", FakeBackend(), Turn(endless(1, 0.01)), sinks=[Wrong()]),
    ]
    with pytest.raises(SinkError, match="no such folder"), LiveLoop(cameras):
        pass
    assert first.closed


def test_cameras_change_while_the_others_lose_no_frame() -> None:
    backend, controls, kept = FakeBackend(), Controls(), FakeSink()
    old_sink, new_sink = FakeSink(), FakeSink()
    stays = make_camera("stays", backend, Turn(endless(1, 0.1)), sinks=[kept], controls=controls)
    old = make_camera("door", backend, Turn(endless(2, 0.02)), sinks=[old_sink])
    new = make_camera("door", backend, Turn(endless(250, 0.02)), sinks=[new_sink])
    with LiveLoop([stays, old], controls=controls) as loop:
        wait_for(lambda: len(old_sink.results) > 5)
        loop.change(["door"], [new])
        assert old_sink.closed
        before = len(old_sink.results)
        wait_for(lambda: len(new_sink.results) > 5)
        assert [camera.name for camera in loop.cameras] == ["stays", "door"]
        wait_for(lambda: len(kept.results) > 10)
        controls.stop = True
        loop.run()
    assert len(old_sink.results) == before
    assert new_sink.results[-1].evidence is not None
    assert new_sink.results[-1].evidence.logit == 122
    indices = [result.frame.index for result in kept.results]
    assert len(indices) > 10 and indices == list(range(len(indices)))
    assert stays.source.health().reconnects == 0


def test_a_new_camera_that_cannot_open_its_sink_leaves_the_rest_running() -> None:
    backend, controls = FakeBackend(), Controls()
    stays = make_camera("stays", backend, Turn(endless(1, 0.02)), controls=controls)
    with LiveLoop([stays], controls=controls) as loop:
        with pytest.raises(SinkError):
            loop.change([], [make_camera("b", backend, Turn(), sinks=[Wrong()])])
        seen = stays.summary.frames
        wait_for(lambda: stays.summary.frames > seen + 3)
        controls.stop = True
        loop.run()


def test_it_ends_in_time_whatever_hangs() -> None:
    before = set(threading.enumerate())  # other tests of this process may leave some behind
    gate = threading.Event()
    backend = FakeBackend(lambda image: float(gate.wait()))
    fine = FakeSink()
    cameras = [
        make_camera("reads", backend, Turn([gate]), sinks=[fine]),
        make_camera("opens", backend, Turn(wait=gate)),
        make_camera("writes", backend, Turn(endless(1, 0.01)), sinks=[FakeSink(before=gate.wait)]),
        make_camera("closes", backend, Turn(endless(1, 0.01), close_wait=gate)),
    ]
    controls = Controls()
    with LiveLoop(cameras, controls=controls) as loop:
        time.sleep(0.2)
        controls.stop = True
        loop.run()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert fine.closed
    gate.set()
    wait_for(
        lambda: (
            not [t for t in set(threading.enumerate()) - before if t.name.startswith("patchwatch-")]
        )
    )


def test_a_view_learns_of_the_cameras_that_it_shows() -> None:
    backend, controls = FakeBackend(), Controls()
    every, some = FakeView(), FakeView()
    door = make_camera(
        "door", backend, Turn(endless(1, 0.02)), sinks=[FakeSink()], views=[every, some]
    )
    yard = make_camera("yard", backend, Turn(endless(2, 0.02)), views=[every])
    ticks: set[threading.Thread] = set()

    def tick() -> None:
        ticks.add(threading.current_thread())
        controls.stop = {state[0] for state in every.states} == {"door", "yard"}

    with LiveLoop([door, yard], [every, some], controls) as loop:
        wait_for(lambda: {name for name, _ in every.results} == {"door", "yard"})
        loop.run(tick)
        loop.change(["door"], [])
    assert every.names == [["door", "yard"], ["yard"]] and some.names == [["door"], []]
    assert {name for name, _ in some.results} == {"door"}
    assert ("door", "streaming", 1) in some.states and ("yard", "streaming", 0) in every.states
    assert every.threads == some.threads == ticks == {threading.current_thread()}
