"""The loop over live sources: one model for all cameras, the fairest next."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from typing_extensions import Self

from edge.backends.base import FrameBackend
from edge.decision.judge import Judge
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector, Job, Stopwatch, finish_jobs
from edge.errors import ModelError, PatchwatchError
from edge.live.scheduler import Scheduler
from edge.live.views import Controls, View
from edge.manifest import Calibration
from edge.overlay import Painter
from edge.sinks.worker import SinkWorker, WorkerHealth
from edge.sources.live import Health, LiveSource
from edge.sources.supervisor import Silence
from edge.summary import Summary
from edge.types import Frame, Region, Result

log = logging.getLogger(__name__)

INFERENCE_THREAD = "patchwatch-inference"

HEALTH_S = 0.25
"""How often changes of a camera's state are passed on to its views, in seconds."""

_IDLE_S = 1.0
"""Longest sleep of the inference thread."""

_LEAVE_S = 1.0
"""How long leaving waits for a model that is at work."""

TRIAL_FRAMES = 200
"""Frames that a new model has to judge before the old one is let go."""

CLOSE_S = 2.5
"""What finishing the files may take, in seconds."""


class Camera:
    """One live source; owns the source and the workers of its sinks.

    One thread takes, judges and delivers; others may read `summary`, and `failed`: why it was given
    up, if it was. Source and workers are unopened; `shared` workers serve several cameras, and the
    loop opens and closes them. After `max_frames` it is over.

    The model is asked `max_fps` times a second at most. While the picture stands still every frame
    is looked at, so that the first one with a change is judged at once; results of still frames
    are given as often as others.
    """

    def __init__(
        self,
        name: str,
        source: LiveSource,
        detector: Detector,
        settings: VerdictSettings,
        calibration: Calibration,
        workers: Sequence[SinkWorker] = (),
        shared: Sequence[SinkWorker] = (),
        views: Sequence[View] = (),
        controls: Controls | None = None,
        max_frames: int | None = None,
        max_fps: float | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.detector = detector
        self.workers = tuple(workers)
        self.shared = tuple(shared)
        self.views = tuple(views)
        self.summary = Summary()
        self.failed: PatchwatchError | None = None
        self._judge = Judge.of(detector, name, calibration, settings)
        self._painter = Painter(calibration, detector.backend.manifest.patches)
        self._settings = settings
        self._before: tuple[Detector, Judge, Painter] | None = None
        self._controls = controls or Controls()
        self._began_s = time.perf_counter()
        self._max_frames = max_frames
        self._period_s = 0.0 if max_fps is None else 1 / max_fps
        self._due_s = self._taken_s = 0.0
        self._still = False
        self._counted = 0
        self._silent_since_s: float | None = None
        self._silent_s = 0.0

    def open(self) -> None:
        """Open its sinks, or raise a SinkError, and start the source; a camera may be absent."""
        try:
            for worker in self.workers:
                worker.open()
        except BaseException:
            close_workers(self.workers)
            raise
        self.source.__enter__()

    def close(self) -> None:
        """Leave the source and finish the files, side by side, within `CLOSE_S`."""
        side_by_side(
            lambda: self.source.__exit__(None, None, None), lambda: close_workers(self.workers)
        )

    @property
    def over(self) -> bool:
        """Whether no frame is wanted, or none will come."""
        enough = self._max_frames is not None and self.summary.frames >= self._max_frames
        return enough or self.failed is not None or self.source.ended

    @property
    def silent_share(self) -> float | None:
        """Share of the time without signal, 0..1; None before the first verdict."""
        if self.summary.last_verdict is None:
            return None
        since = self._silent_since_s
        silent_s = self._silent_s + (0.0 if since is None else time.perf_counter() - since)
        return min(1.0, silent_s / max(time.perf_counter() - self._began_s, 1e-9))

    def arrivals(self) -> int:
        """Frames that came since the last call."""
        received = self.source.received
        new, self._counted = received - self._counted, received
        return new

    def check_signal(self) -> None:
        """Deliver `no_signal` if it is due, and note that the source was given up."""
        try:
            silence = self.source.poll_silence()
        except PatchwatchError as error:
            self.failed = error
            silence = Silence(str(error), error.fault)
        if silence is not None:
            self._deliver(self._judge.silence(silence.error, silence.fault))

    @property
    def waiting(self) -> bool:
        """Whether a frame waits to be taken, and it is time to."""
        return self.source.waiting and (self._still or time.monotonic() >= self._due_s)

    def next_poll_s(self) -> float:
        """When there may be something to do though nothing woke, on the monotonic clock."""
        next_s = self.source.next_poll_s()
        return max(next_s, self._due_s) if self.source.waiting and not self._still else next_s

    def use(self, detector: Detector, calibration: Calibration) -> None:
        """Judge what comes next with another model, whose evidence begins anew."""
        self._before = self.detector, self._judge, self._painter
        self.detector = detector
        self._judge = Judge.of(detector, self.name, calibration, self._settings)
        self._painter = Painter(calibration, detector.backend.manifest.patches)

    def settle(self, passed: bool) -> None:
        """Stay with the model of the last `use`, or go back to the one before."""
        if self._before is not None and not passed:
            self.detector, self._judge, self._painter = self._before
        self._before = None

    def take(self) -> tuple[Frame, Stopwatch] | None:
        """Take the newest frame; None if there is none after all."""
        self._taken_s, watch = time.monotonic(), Stopwatch()
        try:
            with watch.stage("capture"):
                frame = self.source.poll()
        except PatchwatchError as error:
            self.failed = error
            return None
        if isinstance(frame, Silence):
            self._deliver(self._judge.silence(frame.error, frame.fault))
        return (frame, watch) if isinstance(frame, Frame) else None

    def finish(self, job: Job, regions: tuple[Region, ...]) -> None:
        """Judge a frame and deliver its result, unless it says nothing new and is not due."""
        self._still = job.unchanged and not job.parts
        if self._still and self._taken_s < self._due_s:
            self.source.let_go()
            return
        self._due_s = self._taken_s + self._period_s
        self._deliver(
            self._judge.judge(
                job.frame, regions, job.error, job.watch, True, job.looked, job.unchanged
            )
        )

    def _deliver(self, result: Result) -> None:
        picture = self._painter.picture(result, self._controls.heat_map)
        now = time.perf_counter()
        if result.verdict.state == "no_signal":
            self._silent_since_s = self._silent_since_s or now
        elif self._silent_since_s is not None:
            self._silent_s += now - self._silent_since_s
            self._silent_since_s = None
        for worker in (*self.workers, *self.shared):
            worker.put(result, picture)
        for view in self.views:
            view.result(self.name, result, picture)
        self.summary.add(result)
        self.summary.elapsed_s = now - self._began_s


@dataclass(slots=True, eq=False)
class Trial:
    """A model that takes over between two frames, and is gone back from where it fails.

    Attributes:
        models: for each camera by name its detector, and what calibrates its logits.
        left: frames that it has to judge until it has passed; one that is the same as before,
            and keeps its evidence, is none, nor is one in which there was nothing to judge.
        withdrawn: whether it is to end before it has passed or failed.
        over: whether it has ended; then `passed`, or `error` says why it failed, or neither.
    """

    models: Mapping[str, tuple[Detector, Calibration]]
    left: int = TRIAL_FRAMES
    begun: bool = False
    withdrawn: bool = False
    over: bool = False
    passed: bool = False
    error: PatchwatchError | None = None


class LiveLoop:
    """Runs cameras until none has anything to give; a context manager.

    The model has a thread, and so has each sink. The main thread is left for views, signals and
    changes, so that none of them waits for another.

    Args:
        cameras: unopened; at least one. What they share is opened with the first, and closed here.
        views: entered; they learn which cameras there are and how they are.
        controls: its `stop` ends the run.
        batch: largest number of frames given to the model together.
        wait_s: how long a frame may wait for those of other cameras, in seconds; of a backend that
            takes frames one by one never.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        views: Sequence[View] = (),
        controls: Controls | None = None,
        batch: int = 1,
        wait_s: float = 0.005,
    ) -> None:
        self.cameras = tuple(cameras)
        self._views = tuple(views)
        self._shared: list[SinkWorker] = []
        self._controls = controls or Controls()
        self._batch = batch
        # What takes whole frames works on each as it comes: waiting would only make them old.
        self._wait_s = 0.0 if isinstance(cameras[0].detector.backend, FrameBackend) else wait_s
        self._scheduler = Scheduler()
        self._scheduled = self.cameras
        self._health: dict[str, tuple[Health, list[WorkerHealth]]] = {}
        self._health_due_s = 0.0
        self._trial: Trial | None = None
        self._wake = threading.Event()
        self._done = threading.Event()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=INFERENCE_THREAD, daemon=True)

    def __enter__(self) -> Self:
        """Open everything, or raise a SinkError, and start."""
        self._announce_sources()
        opened: list[Camera] = []
        try:
            for camera in self.cameras:
                self._open(camera)
                opened.append(camera)
        except BaseException:
            self._close(opened)
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._wake.set()
        self._thread.join(_LEAVE_S)
        self._close(self.cameras)

    def run(self, tick: Callable[[], None] = lambda: None, every_s: float = 0.25) -> None:
        """Wait in the calling thread until all cameras are over or a stop is asked for.

        `tick` is called again and again meanwhile, as are those of the views. Raises what ended the
        run: a PatchwatchError of the model, of a view, or of the first camera if all were given up.
        """
        every_s = min([every_s, *(view.period_s for view in self._views)])
        while not self._done.wait(every_s) and not self._controls.stop:
            tick()
            self._announce_health()
            for view in self._views:
                view.tick()
        if self._error is not None:
            raise self._error
        failures = [camera.failed for camera in self.cameras if camera.failed is not None]
        if failures and len(failures) == len(self.cameras):
            raise failures[0]

    def stop(self, error: BaseException | None = None) -> None:
        """End the run, from any thread; `run` raises the error, if there is one."""
        self._error = self._error or error
        self._stopping.set()
        self._wake.set()
        self._done.set()

    def change(self, gone: Sequence[str], new: Sequence[Camera]) -> None:
        """Replace cameras while the others go on; from the thread that runs `run`.

        The files of those that leave are finished before the new ones open. Raises a SinkError
        where a sink of a new one cannot be opened; it and those after it are left out.
        """
        leaving = [camera for camera in self.cameras if camera.name in gone]
        self.cameras = tuple(camera for camera in self.cameras if camera.name not in gone)
        self._announce_sources()
        side_by_side(*(camera.close for camera in leaving))
        for camera in new:
            self._open(camera)
            self.cameras = (*self.cameras, camera)
            self._announce_sources()
            self._wake.set()

    def switch(self, trial: Trial) -> None:
        """Judge with other models from the next frame on, and go back where they fail.

        Until the trial is over, cameras must not change, and both models stay open.
        """
        self._trial = trial
        self._wake.set()

    def withdraw(self, trial: Trial) -> None:
        """Go back to the models before; `trial.over` says when that has happened."""
        trial.withdrawn = True
        self._wake.set()

    def _open(self, camera: Camera) -> None:
        for worker in camera.shared:
            if worker not in self._shared:
                worker.open()
                self._shared.append(worker)
        camera.source.subscribe(self._wake.set)
        camera.open()

    def _close(self, cameras: Sequence[Camera]) -> None:
        side_by_side(*(camera.close for camera in cameras), partial(close_workers, self._shared))

    def _announce_sources(self) -> None:
        self._health = {}
        for view in self._views:
            view.sources([camera.name for camera in self.cameras if view in camera.views])

    def _announce_health(self) -> None:
        if time.monotonic() < self._health_due_s:
            return
        self._health_due_s = time.monotonic() + HEALTH_S
        for camera in self.cameras:
            health = camera.source.health(), [worker.health() for worker in camera.workers]
            if self._health.get(camera.name) != health:
                self._health[camera.name] = health
                for view in camera.views:
                    view.health(camera.name, *health)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set() and self._round():
                pass
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def _round(self) -> bool:
        """Serve the frames that are there, or wait for some; False once there will be none."""
        self._wake.clear()
        if self._trial is not None and self._trial.withdrawn:
            self._settle(self._trial)
        cameras = self.cameras
        if cameras is not self._scheduled:
            self._scheduler.keep([camera.name for camera in cameras])
            self._scheduled = cameras
        for camera in cameras:
            if not camera.over:
                camera.check_signal()
        live = [camera for camera in cameras if not camera.over]
        if not live and cameras:
            return False
        ready = [camera for camera in live if camera.waiting]
        if not ready:
            due_s = min((camera.next_poll_s() for camera in live), default=math.inf)
            self._wake.wait(min(_IDLE_S, max(0.0, due_s - time.monotonic())))
            return True
        self._infer(self._chosen(live, ready))
        return True

    def _chosen(self, live: Sequence[Camera], ready: Sequence[Camera]) -> list[Camera]:
        """Whose frames are next, once the bounded wait for the others is over."""
        until = time.monotonic() + self._wait_s
        most = min(self._batch, len(live))
        while len(ready) < most and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()
            ready = [camera for camera in live if camera.waiting]
        now = time.monotonic()
        for camera in live:
            self._scheduler.arrived(camera.name, camera.arrivals(), now)
        names = self._scheduler.choose([camera.name for camera in ready], self._batch, now)
        by_name = {camera.name: camera for camera in ready}
        return [by_name[name] for name in names]

    def _infer(self, cameras: Sequence[Camera]) -> None:
        trial = self._trial
        if trial is not None and not trial.begun:
            trial.begun = True
            for camera in self.cameras:
                camera.use(*trial.models[camera.name])
        taken = [(camera, *shot) for camera in cameras if (shot := camera.take()) is not None]
        try:
            done = _judged(taken)
            if trial is not None:
                _refuse_what_is_no_judgement(done)
                trial.left -= sum(bool(found) and not job.unchanged for job, found in done)
        except Exception as error:
            if trial is None:
                raise
            trial.error = ModelError(f"{type(error).__name__}: {error}")
            if isinstance(error, PatchwatchError):
                trial.error = error
            self._settle(trial)
            done = _judged(taken)
        if trial is not None and trial.left <= 0 and trial.error is None:
            trial.passed = True
            self._settle(trial)
        for (camera, *_), (job, found) in zip(taken, done, strict=True):
            camera.finish(job, found)

    def _settle(self, trial: Trial) -> None:
        for camera in self.cameras:
            camera.settle(trial.passed)
        self._trial, trial.over = None, True


def _judged(
    taken: Sequence[tuple[Camera, Frame, Stopwatch]],
) -> list[tuple[Job, tuple[Region, ...]]]:
    jobs = [camera.detector.start(frame, watch) for camera, frame, watch in taken]
    return list(zip(jobs, finish_jobs(jobs), strict=True))


def _refuse_what_is_no_judgement(done: Sequence[tuple[Job, tuple[Region, ...]]]) -> None:
    for job, _ in done:
        if job.error is not None:
            raise ModelError(f"it cannot judge a frame: {job.error}")
    if not all(math.isfinite(region.evidence.logit) for _, found in done for region in found):
        raise ModelError("it gave a logit that is not finite.")


def close_workers(workers: Sequence[SinkWorker], within_s: float = CLOSE_S) -> None:
    """Finish sinks side by side; one that takes longer is left behind, with a warning."""
    for worker in workers:
        worker.begin_close()
    until = time.monotonic() + within_s
    for worker in workers:
        if not worker.join(max(0.0, until - time.monotonic())):
            log.warning("%s was not finished within %g s", worker.name, within_s)


def side_by_side(*calls: Callable[[], object]) -> None:
    """Make several calls at once, and leave behind what takes much longer than `CLOSE_S`.

    On threads that do not keep the process alive: a blocked call must not keep it from ending.
    """
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    until = time.monotonic() + CLOSE_S + 0.5
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
