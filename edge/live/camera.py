"""One live source with its verdict, its sinks and the views that show it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.backends.base import Pending
from edge.decision.judge import Judge
from edge.decision.verdict import VerdictSettings
from edge.detector import Crops, Detector, Stopwatch
from edge.errors import PatchwatchError, RegionError
from edge.live.views import Controls, View
from edge.manifest import Calibration
from edge.overlay import Painter
from edge.sinks.worker import SinkWorker
from edge.sources.live import LiveSource
from edge.sources.supervisor import Silence, fault_of
from edge.summary import Summary
from edge.types import Frame, Region, Result

log = logging.getLogger(__name__)

CLOSE_S = 2.5
"""What finishing the files may take, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A frame on its way through the detector.

    Attributes:
        frame: the frame.
        watch: its stages so far.
        work: what `Detector.begin` returned, or why the frame could not be taken.
    """

    frame: Frame
    watch: Stopwatch
    work: Crops | Pending | RegionError


class Camera:
    """One live source; owns the source and the workers of its sinks.

    One thread takes, judges and delivers; others may read the attributes.

    Args:
        name: fit to be shown.
        source: opened and closed here.
        detector: on the backend that all cameras share.
        settings: how much evidence a verdict needs.
        calibration: turns logits into scores.
        workers: of its own sinks, unopened.
        shared: workers that serve several cameras; the loop opens and closes them.
        views: that show it; each result goes to them.
        controls: what a person changes meanwhile.
        max_frames: stop after this many; None for all.

    Attributes:
        source: as given.
        summary: what it did so far.
        failed: why it was given up; None while it was not.
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
    ) -> None:
        self.name = name
        self.source = source
        self.detector = detector
        self.workers = tuple(workers)
        self.shared = tuple(shared)
        self.views = tuple(views)
        self.summary = Summary()
        self.failed: PatchwatchError | None = None
        self._judge = Judge(name, calibration, settings, detector.region.kind == "faces")
        self._painter = Painter(calibration, detector.backend.manifest.patches)
        self._controls = controls or Controls()
        self._began_s = time.perf_counter()
        self._max_frames = max_frames
        self._counted = 0
        self._silent_since_s: float | None = None
        self._silent_s = 0.0

    def open(self) -> None:
        """Open its sinks and start the source; a camera may be absent.

        Raises:
            SinkError: a sink cannot be opened.
        """
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
            silence = Silence(str(error), fault_of(error))
        if silence is not None:
            self._deliver(self._judge.silence(silence.error, silence.fault))

    def take(self) -> Job | None:
        """Take the newest frame and cut its region; None if there is none after all."""
        watch = Stopwatch()
        try:
            with watch.stage("capture"):
                frame = self.source.poll()
        except PatchwatchError as error:
            self.failed = error
            return None
        if isinstance(frame, Silence):
            self._deliver(self._judge.silence(frame.error, frame.fault))
        if not isinstance(frame, Frame):
            return None
        try:
            work = self.detector.begin(frame.image, watch, frame.pixel_format, frame.source)
        except RegionError as error:
            return Job(frame, watch, error)
        return Job(frame, watch, work)

    def finish(self, job: Job, regions: tuple[Region, ...]) -> None:
        """Judge a frame and deliver its result."""
        error = str(job.work) if isinstance(job.work, RegionError) else None
        self._deliver(self._judge.judge(job.frame, regions, error, job.watch, live=True))

    def _deliver(self, result: Result) -> None:
        picture = self._painter.picture(result, self._controls.heat_map)
        self._count_silence(result.verdict.state == "no_signal")
        for worker in (*self.workers, *self.shared):
            worker.put(result, picture)
        for view in self.views:
            view.result(self.name, result, picture)
        self.summary.add(result)
        self.summary.elapsed_s = time.perf_counter() - self._began_s

    def _count_silence(self, silent: bool) -> None:
        now = time.perf_counter()
        if silent:
            self._silent_since_s = self._silent_since_s or now
        elif self._silent_since_s is not None:
            self._silent_s += now - self._silent_since_s
            self._silent_since_s = None


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
