"""The loop over live sources: one model for all cameras, the fairest next."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from typing_extensions import Self

from edge.backends.base import MAX_BATCH, Backend, FrameBackend
from edge.detector import Detector, finish_together
from edge.errors import RegionError
from edge.live.camera import Camera, close_workers, side_by_side
from edge.live.views import Controls, View
from edge.sinks.worker import SinkWorker, WorkerHealth
from edge.sources.live import Health

log = logging.getLogger(__name__)

INFERENCE_THREAD = "patchwatch-inference"

HEALTH_S = 0.25
"""How often changes of a camera's state are passed on to its views, in seconds."""

MEMORY_S = 20.0
"""Frames count for about this long: a camera that was away has no claim on what it missed."""

STARVED_S = 1.0
"""A camera that was not served for this long comes first, whatever its share: of one that gives a
frame in five seconds none is skipped, which costs the others next to nothing."""

_IDLE_S = 1.0
"""Longest sleep of the inference thread."""

_LEAVE_S = 1.0
"""How long leaving waits for a model that is at work."""

_TRIAL = 4
_PAYS = 0.85
"""A batch pays if it costs less than this share of as many single frames."""


class LiveLoop:
    """Runs cameras until none has anything to give; a context manager.

    The model runs on a thread of its own, sinks on threads of theirs. The main thread is left for
    views, signals and changes, so that none of them waits for another.

    Args:
        cameras: unopened; at least one. What they share is opened with the first, and closed here.
        views: entered; they learn which cameras there are and how they are.
        controls: its `stop` ends the run.
        batch: largest number of frames given to the model together.
        wait_s: how long a frame may wait for those of other cameras, in seconds.

    Attributes:
        cameras: those that run, in order.
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
        self._backend: Backend = cameras[0].detector.backend
        self._shared: list[SinkWorker] = []
        self._controls = controls or Controls()
        self._batch = batch
        self._wait_s = wait_s
        self._scheduler = Scheduler()
        self._scheduled = self.cameras
        self._health: dict[str, tuple[Health, list[WorkerHealth]]] = {}
        self._health_due_s = 0.0
        self._wake = threading.Event()
        self._done = threading.Event()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=INFERENCE_THREAD, daemon=True)

    def __enter__(self) -> Self:
        """Open everything and start.

        Raises:
            SinkError: a sink cannot be opened.
        """
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._wake.set()
        self._thread.join(_LEAVE_S)
        self._close(self.cameras)

    def run(self, tick: Callable[[], None] = lambda: None, every_s: float = 0.25) -> None:
        """Wait in the calling thread until all cameras are over or a stop is asked for.

        Args:
            tick: called again and again meanwhile, as are those of the views.
            every_s: how often, in seconds; a view may want it more often.

        Raises:
            PatchwatchError: the model or the GPU failed.
            SourceError: every camera was given up.
            SinkError: a view can no longer be shown.
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

        Args:
            gone: names of those that leave; their files are finished before the new ones open.
            new: unopened.

        Raises:
            SinkError: a sink of a new one cannot be opened; it and those after it are left out.
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
        ready = [camera for camera in live if camera.source.waiting]
        if not ready:
            due_s = min((camera.source.next_poll_s() for camera in live), default=math.inf)
            self._wake.wait(min(_IDLE_S, max(0.0, due_s - time.monotonic())))
            return True
        self._infer(self._chosen(live, self._gathered(live, ready)))
        return True

    def _gathered(self, live: Sequence[Camera], ready: list[Camera]) -> list[Camera]:
        """Those that are ready once the bounded wait for the others is over."""
        until = time.monotonic() + self._wait_s
        most = min(self._batch, len(live))
        while len(ready) < most and (left := until - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()
            ready = [camera for camera in live if camera.source.waiting]
        return ready

    def _chosen(self, live: Sequence[Camera], ready: Sequence[Camera]) -> list[Camera]:
        now = time.monotonic()
        for camera in live:
            self._scheduler.arrived(camera.name, camera.arrivals(), now)
        names = self._scheduler.choose([camera.name for camera in ready], self._batch, now)
        by_name = {camera.name: camera for camera in ready}
        return [by_name[name] for name in names]

    def _infer(self, cameras: Sequence[Camera]) -> None:
        taken = [(camera, job) for camera in cameras if (job := camera.take()) is not None]
        work, watches = [], []
        for _, job in taken:
            if not isinstance(job.work, RegionError):
                work.append(job.work)
                watches.append(job.watch)
        regions = iter(finish_together(self._backend, work, watches))
        for camera, job in taken:
            camera.finish(job, () if isinstance(job.work, RegionError) else next(regions))


@dataclass(slots=True)
class _Account:
    """Frames that arrived and that were served, both fading with time."""

    arrived: float = 0.0
    served: float = 0.0
    at_s: float = 0.0
    last_s: float = -math.inf

    def fade(self, now_s: float) -> None:
        left = math.exp(-max(0.0, now_s - self.at_s) / MEMORY_S)
        self.arrived, self.served, self.at_s = self.arrived * left, self.served * left, now_s


class Scheduler:
    """Chooses the camera of whose frames the smallest share was served lately.

    So a camera of 5 frames per second and one of 30 both skip, say, half; but each is served once
    in `STARVED_S` where that is possible. Not thread-safe; times are in seconds on any clock that
    does not fall.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def arrived(self, camera: str, frames: int, now_s: float) -> None:
        """Count frames that a camera gave since it was last counted."""
        account = self._accounts.setdefault(camera, _Account(at_s=now_s))
        account.fade(now_s)
        account.arrived += frames

    def choose(self, ready: Sequence[str], most: int, now_s: float) -> list[str]:
        """The cameras whose newest frame is served now, in that order.

        Args:
            ready: those that have one; each was counted by `arrived` before.
            most: how many at most.
            now_s: the time.
        """
        for camera in ready:
            self._accounts.setdefault(camera, _Account(at_s=now_s)).fade(now_s)
        chosen = sorted(ready, key=lambda camera: self._claim(camera, now_s))[:most]
        for camera in chosen:
            account = self._accounts[camera]
            account.served += 1
            account.last_s = now_s
        return chosen

    def keep(self, cameras: Sequence[str]) -> None:
        """Forget all others."""
        self._accounts = {name: self._accounts[name] for name in cameras if name in self._accounts}

    def _claim(self, camera: str, now_s: float) -> tuple[bool, float, float]:
        account = self._accounts[camera]
        share = account.served / account.arrived if account.arrived > 0 else 0.0
        return now_s - account.last_s < STARVED_S, share, account.last_s


def batch_that_pays(detector: Detector) -> int:
    """How many frames to give to the model at once: all that it takes, or one.

    On a CPU a batch usually costs as much as its frames one by one, and then only makes them old;
    so both are timed, where the region fixes the size.

    Raises:
        ModelError: the backend failed.
    """
    if isinstance(detector.backend, FrameBackend):
        return MAX_BATCH
    side = detector.region.size
    if not side or detector.region.kind == "tiles":
        return 1
    one, many = (_least_s(detector.backend, side, batch) for batch in (1, _TRIAL))
    return MAX_BATCH if many < _PAYS * _TRIAL * one else 1


def _least_s(backend: Backend, side: int, batch: int) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        backend.warm_up(side, side, batch)
        times.append(time.perf_counter() - began)
    return min(times)
