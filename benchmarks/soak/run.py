"""The soak itself: real cameras, the program's own station, and what is measured meanwhile."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.end_to_end.clips import FPS, FULL_HD, HD, Size
from benchmarks.soak.film import PICTURES, make_film
from benchmarks.soak.growth import Growth, Held, warm_up_s
from benchmarks.soak.scenery import CameraProcess, Trouble
from benchmarks.soak.slow import SlowBackend
from benchmarks.soak.watch import CameraClock, Watch
from edge.backends import open_backend
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.live.loop import INFERENCE_THREAD, Camera, LiveLoop
from edge.live.scheduler import batch_that_pays
from edge.live.views import Controls
from edge.regions import parse_region
from edge.sinks.worker import SinkWorker
from edge.sources import open_source
from edge.sources.live import Health, LiveSource
from edge.sources.policy import Limits, ReconnectPolicy
from edge.weights import DEFAULT, find_model

SIZES = {size.name: size for size in (Size("360p", 360, 640), HD, FULL_HD)}

QUIET_S = 30.0
"""No trouble is made at the end of a run, nor in its first third; all must be back by the end."""

TICK_S = 1.0
"""How often it is looked at what the process holds, in seconds."""

_QUICK_LIMITS = Limits(open_s=5.0, frame_s=2.0, read_s=5.0)
_QUICK_RETRY = ReconnectPolicy(quick_s=0.5, medium_s=1.0, slow_s=2.0)


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What is run.

    Attributes:
        minutes: how long.
        cameras: how many.
        size: of their pictures.
        fps: their pictures per second.
        slow_ms: what the model takes at least for a frame; 0 for its own speed.
        model: a shipped model's name or a model file.
        faults: whether cameras are killed and frozen meanwhile.
        seed: of the faults.
    """

    minutes: float
    cameras: int = 1
    size: Size = HD
    fps: float = FPS
    slow_ms: float = 0.0
    model: str = DEFAULT
    faults: bool = False
    seed: int = 0

    @property
    def seconds(self) -> float:
        """How long, in seconds."""
        return 60 * self.minutes


@dataclass(slots=True, eq=False)
class Seen:
    """What was seen of one camera.

    Attributes:
        camera: as the program has it.
        watch: of its results.
        health: of its source, the newest.
    """

    camera: Camera
    watch: Watch
    health: Health | None = None


@dataclass(slots=True, eq=False)
class Soak:
    """What was measured so far; whole at any moment.

    Attributes:
        plan: what is run.
        seen: of each camera.
        growth: of this process.
        batch: frames that the model is given together at most.
        elapsed_s: since the cameras were first listened to.
        ended_s: the newest moment of it, on the clock of `time.monotonic`.
        begin: what the process held when it was warm.
        end: what it holds now.
        faults: those that were made.
        interrupted: Ctrl-C ended it.
    """

    plan: SoakPlan
    seen: list[Seen] = field(default_factory=list)
    growth: Growth = field(default_factory=Growth)
    batch: int = 1
    elapsed_s: float = 0.0
    ended_s: float = 0.0
    begin: Held | None = None
    end: Held | None = None
    faults: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False


Tell = Callable[[Soak], None]
"""Shown to whoever waits, once in a while."""


def soak(plan: SoakPlan, tell: Tell = lambda _: None) -> Soak:
    """Run it; Ctrl-C ends it early and keeps what was measured.

    Raises:
        PatchwatchError: the model cannot be used, or the program failed.
        RuntimeError: a camera did not start.
    """
    measured = Soak(plan)
    with ExitStack() as stack:
        try:
            processes = _filmed(plan, stack)
            cameras = _cameras(plan, processes, measured, stack)
            _watch(plan, cameras, processes, measured, tell)
        except KeyboardInterrupt:
            measured.interrupted = True
    return measured


def _filmed(plan: SoakPlan, stack: ExitStack) -> list[CameraProcess]:
    """The cameras, running, each at another place of the same film."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patchwatch-soak-")))
    film = make_film(folder / "film", plan.size, plan.fps)
    zero_s = time.monotonic()
    return [
        stack.enter_context(
            CameraProcess(film, plan.fps, zero_s, number * PICTURES // plan.cameras)
        )
        for number in range(plan.cameras)
    ]


def _cameras(
    plan: SoakPlan, processes: Sequence[CameraProcess], measured: Soak, stack: ExitStack
) -> list[Camera]:
    backend = stack.enter_context(open_backend(find_model(plan.model)))
    stack.callback(_wait_for_model)
    slow = SlowBackend(backend, plan.slow_ms / 1e3) if plan.slow_ms else backend
    detector = Detector(slow, parse_region(backend.manifest.region))
    detector.warm_up()
    measured.batch = 1 if plan.slow_ms else batch_that_pays(detector)
    measured.seen = [
        _seen(f"camera-{number}", process, plan, detector)
        for number, process in enumerate(processes, start=1)
    ]
    return [seen.camera for seen in measured.seen]


def _seen(name: str, process: CameraProcess, plan: SoakPlan, detector: Detector) -> Seen:
    watch = Watch(CameraClock(process.fps, process.zero_s, PICTURES, process.offset))
    source = _source(name, process, plan)
    calibration = detector.backend.manifest.calibration
    workers = [SinkWorker(watch)]
    return Seen(
        Camera(name, source, detector, VerdictSettings(), calibration, workers=workers), watch
    )


def _source(name: str, process: CameraProcess, plan: SoakPlan) -> LiveSource:
    limits, retry = (_QUICK_LIMITS, _QUICK_RETRY) if plan.faults else (Limits(), ReconnectPolicy())
    source = open_source(process.address, name=name, limits=limits, retry=retry)
    assert isinstance(source, LiveSource)
    return source


def _watch(
    plan: SoakPlan,
    cameras: Sequence[Camera],
    processes: Sequence[CameraProcess],
    measured: Soak,
    tell: Tell,
) -> None:
    controls = Controls()
    began_s = time.monotonic()
    with (
        LiveLoop(cameras, controls=controls, batch=measured.batch) as loop,
        Trouble(processes, plan.seed) as trouble,
    ):
        measured.faults = trouble.counts

        def tick() -> None:
            measured.ended_s = time.monotonic()
            measured.elapsed_s = measured.ended_s - began_s
            trouble.wanted(plan.faults and _is_time_for_trouble(plan, measured.elapsed_s))
            _note(measured)
            controls.stop = measured.elapsed_s >= plan.seconds
            tell(measured)

        loop.run(tick, TICK_S)


def _wait_for_model() -> None:
    # The loop does not wait for a model that is at work; but a runtime in C++ must not come
    # back to an interpreter that is being torn down.
    for thread in threading.enumerate():
        if thread.name == INFERENCE_THREAD:
            thread.join()


def _is_time_for_trouble(plan: SoakPlan, elapsed_s: float) -> bool:
    left_s = plan.seconds - elapsed_s
    return elapsed_s > warm_up_s(plan.seconds) and left_s > min(QUIET_S, plan.seconds / 3)


def _note(measured: Soak) -> None:
    measured.end = measured.growth.note(measured.elapsed_s)
    if measured.begin is None and measured.elapsed_s > warm_up_s(measured.plan.seconds):
        measured.begin = measured.end
    for seen in measured.seen:
        seen.health = seen.camera.source.health()
