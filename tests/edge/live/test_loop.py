from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from edge.backends.base import Pending
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector, finish_jobs
from edge.errors import ModelError, NetworkError, SinkError
from edge.live.loop import Camera, LiveLoop, Trial
from edge.live.views import Controls
from edge.regions import RegionSpec, parse_region
from edge.reuse import Reuse
from edge.sinks.base import Sink
from edge.sinks.worker import SinkWorker
from edge.sources.live import LiveSource
from edge.sources.policy import Limits, ReconnectPolicy
from edge.types import Evidence, Image, PixelFormat
from tests.fakes import (
    FakeBackend,
    FakeCamera,
    FakeSink,
    FakeView,
    Step,
    Turn,
    barred,
    make_manifest,
    wait_for,
)

QUICK = VerdictSettings(window_s=1.0, min_evidence_s=0.0, min_frames=2)
ONCE = ReconnectPolicy(retries=0)
LARGE = make_manifest(patches={"stride": 2, "receptive_field": 1000})


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
        steps += [barred(value), every_s]
    return [*steps, None]


def endless(value: int, every_s: float) -> Iterator[Step]:
    while True:
        yield barred(value)
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
        Turn([barred(250), 0.02] * 5),
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
        make_camera(f"cam{value}", backend, Turn(paced(20 + value, 30, 0.02)), views=[view])
        for value in range(4)
    ]
    with LiveLoop(cameras, [view], batch=4, wait_s=0.05) as loop:
        loop.run()
    assert max(backend.batches) == 4
    assert sum(backend.batches) == sum(camera.summary.scored for camera in cameras)
    assert view.results
    for name, result in view.results:
        assert result.evidence is not None and result.frame.source == name
        assert result.evidence.logit == 20 + int(name[-1]) - 128


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
    assert [result for result in sink.results if result.evidence is not None]


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
    asked = threading.Event()

    def hang(image: Image) -> float:
        asked.set()
        return float(gate.wait())

    backend = FakeBackend(hang)
    fine = FakeSink()
    cameras = [
        make_camera("reads", backend, Turn([gate]), sinks=[fine]),
        make_camera("opens", backend, Turn(wait=gate)),
        make_camera("writes", backend, Turn(endless(1, 0.01)), sinks=[FakeSink(before=gate.wait)]),
        make_camera("closes", backend, Turn(endless(1, 0.01), close_wait=gate)),
    ]
    controls = Controls()
    with LiveLoop(cameras, controls=controls) as loop:
        assert asked.wait(60)
        controls.stop = True
        loop.run()  # and leaves, though the gate is never opened
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


class WholeFrames(FakeBackend):
    """Takes frames one by one, as a GPU's backend does."""

    def submit(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Pending:
        evidence: Future[list[Evidence]] = Future()
        evidence.set_result(self.infer(image[None]))
        height, width = image.shape[:2]
        return Pending([(0, 0, width, height)], (height, width), [evidence])


def test_frames_that_are_taken_one_by_one_do_not_wait_for_those_of_other_cameras() -> None:
    backend = WholeFrames()
    busy = make_camera("busy", backend, Turn(paced(250, 50)), max_frames=3)
    idle = make_camera("idle", backend, Turn([0.5, None]))
    with LiveLoop([busy, idle], batch=8, wait_s=10_000.0) as loop:
        loop.run()
    assert busy.summary.frames == 3


def test_a_camera_is_judged_no_more_often_than_it_may() -> None:
    backend, sink = FakeBackend(), FakeSink()
    camera = make_camera("door", backend, Turn(paced(200, 30)), sinks=[sink], max_fps=10.0)
    with LiveLoop([camera]) as loop:
        loop.run()
    at_s = [result.frame.pts or 0.0 for result in sink.results]
    assert 2 <= len(at_s) < 12
    health = camera.source.health()
    assert health.received == 30 and health.skipped == 30 - len(backend.batches)


def one_by_one(seen: FakeView, count: int, switched: threading.Event) -> Iterator[Step]:
    """Pictures, each of which comes when the one before was judged; after ten of them a model has
    been switched.
    """
    for number in range(count):
        if number == 10:
            yield switched
        yield barred(200)
        wait_until_judged(seen, number + 1)
    yield None


def wait_until_judged(seen: FakeView, count: int) -> None:
    wait_for(lambda: len(seen.results) >= count)


def always(logit: float, image: Image) -> float:
    return logit


def trial_of(backend: FakeBackend, frames: int, reuse: Reuse | None = None) -> Trial:
    detector = Detector(backend, parse_region("native"), reuse=reuse)
    return Trial({"door": (detector, backend.manifest.calibration)}, left=frames)


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (FakeBackend(partial(always, -7.0)), None),
        (FakeBackend(partial(always, math.nan)), "not finite"),
        (FakeBackend(partial(throw, ModelError("the engine is broken."))), "the engine is broken"),
        (FakeBackend(manifest=LARGE), "it cannot judge a frame: the picture .* needs at least"),
    ],
    ids=["passes", "gives nan", "raises", "fits no frame"],
)
def test_a_model_takes_over_between_two_frames_and_is_gone_back_from_where_it_fails(
    new: FakeBackend, error: str | None
) -> None:
    trial, count = trial_of(new, frames=10), 40
    view = tried(trial, count)
    indices = [result.frame.index for _, result in view.results]
    assert indices == list(range(count))
    assert trial.over and re.search(error or "None", str(trial.error))
    logits = [result.evidence.logit for _, result in view.results if result.evidence]
    assert len(logits) == count
    late = logits.count(-7.0)
    assert (late >= 10 and logits[-late:] == [-7.0] * late) if error is None else late == 0
    assert all(result.error is None for _, result in view.results)


def test_a_frame_whose_evidence_was_kept_is_no_proof_of_a_new_model() -> None:
    trial = trial_of(FakeBackend(), frames=10, reuse=Reuse())
    tried(trial, 40)  # thirty times the same picture, of which it is asked once
    assert not trial.over and trial.left == 9


def test_a_frame_without_a_face_is_no_proof_of_a_model_that_judges_faces() -> None:
    detector = Detector(FakeBackend(), parse_region("faces:64"))
    trial = Trial({"door": (detector, detector.backend.manifest.calibration)}, left=10)
    tried(trial, 40)
    assert trial.begun and not trial.over and trial.left == 10


def tried(trial: Trial, count: int) -> FakeView:
    """What is seen of so many frames, with a trial from the eleventh on."""
    view, switched = FakeView(), threading.Event()
    turn = Turn(one_by_one(view, count, switched))
    camera = make_camera("door", FakeBackend(), turn, views=[view])
    with LiveLoop([camera], views=[view]) as loop:

        def tick() -> None:
            if len(view.results) >= 10 and not switched.is_set():
                loop.switch(trial)
                switched.set()

        loop.run(tick, every_s=0.01)
    return view


def test_a_change_in_a_still_picture_is_judged_at_once_and_others_no_more_often_than_they_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, steps, backend = [0.0], SimpleQueue[Step](), FakeBackend()
    clock = SimpleNamespace(monotonic=lambda: now_s[0], perf_counter=time.perf_counter)
    monkeypatch.setattr("edge.live.loop.time", clock)
    camera = make_camera("door", backend, Turn(steps.get() for _ in range(10)), max_fps=5.0)
    camera.detector = Detector(backend, parse_region("native"), reuse=Reuse())

    def sent(value: int, at_s: float) -> str:
        """What becomes of a picture of that mean."""
        now_s[0], count = at_s, camera.source.received + 1
        steps.put(barred(value))
        wait_for(lambda: camera.source.received == count)
        if not camera.waiting:
            return "waits"
        taken, judged = camera.take(), camera.summary.frames
        assert taken is not None
        job = camera.detector.start(*taken)
        camera.finish(job, *finish_jobs([job]))
        if camera.summary.frames == judged:
            return "let go"
        return "kept" if job.unchanged else "asked"

    camera.open()
    assert [sent(50, 0.0), sent(50, 0.1), sent(50, 0.2)] == ["asked", "waits", "kept"]
    assert [sent(50, 0.25), sent(50, 0.3), sent(50, 0.4)] == ["let go", "let go", "kept"]
    assert [sent(99, 0.45), sent(98, 0.5), sent(97, 0.65)] == ["asked", "waits", "asked"]
    steps.put(None)
    camera.close()
    health = camera.source.health()
    assert (health.received, health.skipped, camera.summary.frames) == (9, 4, 5)
    assert (len(backend.batches), camera.summary.unchanged) == (3, 2)
