"""Many cameras, one model: who is seen next, together with whom, and who is told."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from typing_extensions import Self

from edge.backends.base import MAX_BATCH, Backend, FrameBackend, Pending
from edge.detector import Crops, Detector, finish_together
from edge.live.camera import Camera, close_outlets, side_by_side
from edge.live.scheduler import Rota
from edge.sinks.controls import Controls
from edge.sinks.worker import SinkWorker

log = logging.getLogger(__name__)

_IDLE_S = 1.0
"""Longest sleep of the detection thread."""

_LEAVE_S = 1.0
"""How long leaving waits for a model that is at work."""

_TRIAL = 4
_PAYS = 0.85
"""A batch pays if it costs less than this share of as many single frames."""


class Station:
    """Runs cameras until none has anything to give; a context manager.

    The model runs on a thread of its own, sinks on threads of theirs. The main thread is left for
    the window, signals and changes, so that none of them waits for another.

    Args:
        cameras: unopened; at least one. What they share is opened with the first, and closed here.
        controls: its `stop` ends the run.
        batch: frames given to the model together at most.
        wait_s: how long a frame may wait for those of other cameras, in seconds.

    Attributes:
        cameras: those that run, in order.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        controls: Controls | None = None,
        batch: int = 1,
        wait_s: float = 0.005,
    ) -> None:
        self.cameras = tuple(cameras)
        self._backend: Backend = cameras[0].detector.backend
        self._shared: list[SinkWorker] = []
        self._controls = controls or Controls()
        self._batch = batch
        self._wait_s = wait_s
        self._rota: Rota[str] = Rota()
        self._served = self.cameras
        self._wake = threading.Event()
        self._done = threading.Event()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="patchwatch-detection", daemon=True)

    def __enter__(self) -> Self:
        """Open everything and begin.

        Raises:
            SinkError: an outlet cannot be opened.
        """
        opened: list[Camera] = []
        try:
            for camera in self.cameras:
                self._adopt(camera)
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
        """Wait in the calling thread until all cameras are over, or a stop is asked for.

        Args:
            tick: called again and again meanwhile.
            every_s: how often, in seconds.

        Raises:
            PatchwatchError: the model or the GPU failed.
            SourceError: every camera was given up.
        """
        while not self._done.wait(every_s) and not self._controls.stop:
            tick()
        if self._error is not None:
            raise self._error
        failures = [camera.failed for camera in self.cameras]
        if failures[0] is not None and all(failures):
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
            SinkError: an outlet of a new one cannot be opened; it and those after it are left out.
        """
        leaving = [camera for camera in self.cameras if camera.name in gone]
        self.cameras = tuple(camera for camera in self.cameras if camera.name not in gone)
        side_by_side([lambda *_, c=camera: c.close() for camera in leaving])
        for camera in new:
            self._adopt(camera)
            self.cameras = (*self.cameras, camera)
            self._wake.set()

    def _adopt(self, camera: Camera) -> None:
        for outlet in camera.shared:
            if outlet not in self._shared:
                outlet.open()
                self._shared.append(outlet)
        camera.source.subscribe(self._wake.set)
        camera.open()

    def _close(self, cameras: Sequence[Camera]) -> None:
        side_by_side(
            [
                *(lambda *_, c=camera: c.close() for camera in cameras),
                lambda *_: close_outlets(self._shared),
            ]
        )

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
        if cameras is not self._served:
            for name in {camera.name for camera in self._served} - {c.name for c in cameras}:
                self._rota.forget(name)
            self._served = cameras
        for camera in cameras:
            if not camera.over:
                camera.attend()
        live = [camera for camera in cameras if not camera.over]
        if not live and cameras:
            return False
        ready = [camera for camera in live if camera.source.waiting]
        if not ready:
            self._wake.wait(self._rest_s(live))
            return True
        self._serve(self._chosen(live, self._gathered(live, ready)))
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
            self._rota.arrived(camera.name, camera.arrivals(), now)
        names = self._rota.choose([camera.name for camera in ready], self._batch, now)
        by_name = {camera.name: camera for camera in ready}
        return [by_name[name] for name in names]

    def _serve(self, cameras: Sequence[Camera]) -> None:
        taken = [(camera, frame) for camera in cameras if (frame := camera.take()) is not None]
        work = [(f.work, f.watch) for _, f in taken if isinstance(f.work, (Crops, Pending))]
        regions = iter(
            finish_together(self._backend, [w for w, _ in work], [watch for _, watch in work])
        )
        for camera, frame in taken:
            seen = isinstance(frame.work, (Crops, Pending))
            camera.judge(frame, next(regions) if seen else ())

    def _rest_s(self, live: Sequence[Camera]) -> float:
        due = min((camera.source.next_poll_s() for camera in live), default=float("inf"))
        return min(_IDLE_S, max(0.0, due - time.monotonic()))


def batch_that_pays(detector: Detector) -> int:
    """How many frames to give to the model at once: all that it takes, or one.

    On a CPU a batch usually costs as much as its frames one by one, and then only makes them old;
    so both are timed, where the region fixes the size.

    Raises:
        ModelError: the backend failed.
    """
    if isinstance(detector.backend, FrameBackend):
        return MAX_BATCH
    side = detector.region.fixed_side
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
