"""One camera of a station: its source, its verdict, and where its results go."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from edge.backends.base import Pending
from edge.decision.judge import Judge
from edge.decision.verdict import VerdictSettings
from edge.detector import Crops, Detector, Stopwatch
from edge.errors import PatchwatchError, RegionError, SourceFault
from edge.manifest import Calibration
from edge.overlay import Painter
from edge.sinks.controls import Controls
from edge.sinks.worker import SinkWorker
from edge.sources.live import LiveSource
from edge.sources.supervisor import Silence, fault_of
from edge.summary import Summary
from edge.types import Frame, Picture, Region, Result

log = logging.getLogger(__name__)

CLOSE_S = 2.5
"""What finishing the files may take, in seconds."""


class Taken:
    """A frame that was taken, and given to the detector.

    Attributes:
        frame: the frame.
        watch: its stages so far.
        work: what the detector made of it, or why it could not be taken.
    """

    __slots__ = ("frame", "watch", "work")

    def __init__(self, frame: Frame, watch: Stopwatch, work: Crops | Pending | RegionError) -> None:
        self.frame = frame
        self.watch = watch
        self.work = work


class Camera:
    """One camera; owns its source and its outlets.

    One thread takes, judges and delivers; another may read `shown` and `summary`.

    Args:
        name: fit to be shown.
        source: opened and closed here.
        detector: on the backend that all cameras share.
        settings: how much evidence a verdict needs.
        calibration: turns logits into scores.
        outlets: its own, unopened.
        shared: outlets of several cameras, which it serves; whoever runs it opens and closes them.
        controls: changed by the window.
        max_frames: so many are enough; None for all.

    Attributes:
        source: as given.
        summary: what it did so far.
        shown: its newest result and its picture; None before the first.
        failed: why it was given up; None while it was not.
    """

    def __init__(
        self,
        name: str,
        source: LiveSource,
        detector: Detector,
        settings: VerdictSettings,
        calibration: Calibration,
        outlets: Sequence[SinkWorker] = (),
        shared: Sequence[SinkWorker] = (),
        controls: Controls | None = None,
        max_frames: int | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.detector = detector
        self.outlets = tuple(outlets)
        self.shared = tuple(shared)
        self.summary = Summary()
        self.shown: tuple[Result, Picture] | None = None
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
        """Open the outlets and let the source begin; a camera may be absent.

        Raises:
            SinkError: an outlet cannot be opened.
        """
        try:
            for outlet in self.outlets:
                outlet.open()
        except BaseException:
            close_outlets(self.outlets)
            raise
        self.source.__enter__()

    def close(self) -> None:
        """Leave the source and finish the files, side by side, within `CLOSE_S`."""
        side_by_side([self.source.__exit__, lambda *_: close_outlets(self.outlets)])

    @property
    def over(self) -> bool:
        """Whether no frame is wanted, or none will come any more."""
        return self.failed is not None or self.source.ended or self._enough

    @property
    def _enough(self) -> bool:
        return self._max_frames is not None and self.summary.frames >= self._max_frames

    @property
    def fps(self) -> float | None:
        """Frames per second that were scored lately; None while unknown."""
        return self._painter.fps

    @property
    def silent_share(self) -> float | None:
        """Share of the time without signal, 0..1; None before the first verdict."""
        if self.shown is None:
            return None
        since = self._silent_since_s
        silent_s = self._silent_s + (0.0 if since is None else time.perf_counter() - since)
        return min(1.0, silent_s / max(time.perf_counter() - self._began_s, 1e-9))

    def arrivals(self) -> int:
        """Frames that came since this was last asked."""
        received = self.source.received
        new, self._counted = received - self._counted, received
        return new

    def attend(self) -> Result | None:
        """Say `no_signal` if it is due, and notice that the source was given up."""
        try:
            silence = self.source.poll_silence()
        except PatchwatchError as error:
            self.failed = error
            return self._silence(str(error), fault_of(error))
        return None if silence is None else self._silence(silence.error, silence.fault)

    def take(self) -> Taken | None:
        """Take the newest frame and cut its region; None if there is none after all."""
        watch = Stopwatch()
        try:
            with watch.stage("capture"):
                frame = self.source.poll()
        except PatchwatchError as error:
            self.failed = error
            return None
        if isinstance(frame, Silence):
            self._silence(frame.error, frame.fault)
        if not isinstance(frame, Frame):
            return None
        try:
            work = self.detector.begin(frame.image, watch, frame.pixel_format, frame.source)
        except RegionError as error:
            return Taken(frame, watch, error)
        return Taken(frame, watch, work)

    def judge(self, taken: Taken, regions: tuple[Region, ...]) -> Result:
        """The verdict on a frame, delivered to its outlets."""
        error = str(taken.work) if isinstance(taken.work, RegionError) else None
        result = self._judge.judge(taken.frame, regions, error, taken.watch, live=True)
        return self._deliver(result)

    def _silence(self, error: str | None, fault: SourceFault | None) -> Result:
        return self._deliver(self._judge.silence(error, fault))

    def _deliver(self, result: Result) -> Result:
        picture = self._painter.picture(result, self._controls.heat_map)
        self.shown = result, picture
        self._count_silence(result.verdict.state == "no_signal")
        for outlet in (*self.outlets, *self.shared):
            outlet.put(result, picture)
        self.summary.add(result)
        self.summary.elapsed_s = time.perf_counter() - self._began_s
        return result

    def _count_silence(self, silent: bool) -> None:
        now = time.perf_counter()
        if silent:
            self._silent_since_s = self._silent_since_s or now
        elif self._silent_since_s is not None:
            self._silent_s += now - self._silent_since_s
            self._silent_since_s = None


def close_outlets(outlets: Sequence[SinkWorker], within_s: float = CLOSE_S) -> None:
    """Finish outlets side by side; one that takes longer is left behind, and told."""
    for outlet in outlets:
        outlet.begin_close()
    until = time.monotonic() + within_s
    for outlet in outlets:
        if not outlet.join(max(0.0, until - time.monotonic())):
            log.warning("%s was not finished within %g s", outlet.name, within_s)


def side_by_side(calls: Sequence[Callable[[None, None, None], object]]) -> None:
    """Make several calls at once, and leave behind what takes much longer than `CLOSE_S`.

    On threads that do not keep the process alive: a blocked call must not keep it from ending.
    """
    threads = [
        threading.Thread(target=call, args=(None, None, None), daemon=True) for call in calls
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + CLOSE_S + 0.5
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
