"""The loop: frames in, evidence, verdict, annotated picture, sinks."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from edge.backends.base import Pending
from edge.detector import Crops, Detector, Stopwatch, combine
from edge.errors import PatchwatchError, RegionError
from edge.overlay import Hud, Painter
from edge.pace import Pacer
from edge.pixels import bgr_frame
from edge.sinks.base import Sink
from edge.sinks.controls import Controls
from edge.sources.base import Source
from edge.types import Evidence, Frame, Image, Region, Result, Verdict
from edge.verdict import STILL, VerdictSettings, VerdictTracker

log = logging.getLogger(__name__)

HISTORY_S = 12.0
"""Length of the score history that the overlay draws, seconds."""

RATE_FRAMES = 30
"""Frames over which the shown rate is averaged."""

TIMING_FRAMES = 10_000
"""Newest frames whose latencies the summary counts; bounds memory over months."""

PLACEHOLDER_HW = (360, 640)


@dataclass(slots=True)
class Summary:
    """What a run did.

    Attributes:
        frames: frames taken from the source.
        scored: frames that gave finite evidence.
        states: how many frames ended in each verdict.
        errors: how many frames gave each error.
        skipped: pictures that the source could not read and passed over.
        elapsed_s: wall time from the first frame on.
        latencies_ms: the newest latencies of each stage.
        last_verdict: the verdict after the last frame.
    """

    frames: int = 0
    scored: int = 0
    states: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    elapsed_s: float = 0.0
    latencies_ms: dict[str, deque[float]] = field(default_factory=dict)
    last_verdict: Verdict | None = None

    @property
    def fps(self) -> float:
        """End-to-end frames per second."""
        return self.frames / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def add(self, result: Result) -> None:
        """Count a result whose sinks have been served."""
        self.states[result.verdict.state] += 1
        self.last_verdict = result.verdict
        if result.verdict.state == "no_signal":
            return
        self.frames += 1
        if result.error is None:
            self.scored += 1
        else:
            self.errors[result.error] += 1
        for stage, elapsed in result.timings_ms.items():
            self.latencies_ms.setdefault(stage, deque(maxlen=TIMING_FRAMES)).append(elapsed)


T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Begun:
    """A frame that was taken, and given to the detector.

    Attributes:
        frame: None where a live source fell silent.
        watch: its stages so far.
        began: when it was captured, on the clock of `time.perf_counter`.
        work: what the detector made of it, or why it could not be taken.
    """

    frame: Frame | None
    watch: Stopwatch
    began: float
    work: Crops | Pending | RegionError | None


@dataclass(slots=True, eq=False)
class _Job:
    """A judged frame whose sinks are still to be served.

    Attributes:
        result: of the frame.
        watch: its stages so far; `overlay` is what the loop waited for the picture.
        picture: being drawn; None if no sink wants it.
        began: when it was captured, on the clock of `time.perf_counter`.
    """

    result: Result
    watch: Stopwatch
    picture: Future[Image] | None
    began: float


class Pipeline:
    """Runs one source through a detector into sinks, in the calling thread.

    The source may read ahead in a thread of its own; the window, where there is one, needs the
    calling thread to be the main one.

    Args:
        source: open; it tells sinks its rate and length, so it is opened before they are made.
        detector: with an open backend.
        sinks: unopened, `run` opens and closes them; served in order, so that what comes later
            sees the time of what came first.
        settings: how much evidence a verdict needs.
        controls: changed by the window, read here.
        max_frames: stop after so many frames; None for all.
        pacer: holds a recording back to its own speed; None for as fast as it goes.
    """

    def __init__(
        self,
        source: Source,
        detector: Detector,
        sinks: Sequence[Sink],
        settings: VerdictSettings,
        controls: Controls | None = None,
        max_frames: int | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        self._source = source
        self._detector = detector
        self._sinks = sinks
        self._controls = controls or Controls()
        self._max_frames = max_frames
        self._pacer = pacer
        self._calibration = detector.backend.manifest.calibration
        self._settings = STILL if source.kind == "stills" else settings
        self._tracker = VerdictTracker(self._calibration, self._settings)
        self._history: deque[tuple[float, float | None]] = deque()
        self._finished: deque[float] = deque(maxlen=RATE_FRAMES)
        self._painter = Painter()
        self._last: Frame | None = None
        self._taken = 0
        self.summary = Summary()

    def run(self) -> Summary:
        """Run until the source ends, a sink asks to stop or an error ends it.

        Every sink is finished in any case, Ctrl-C included, so that what was written can be used.

        Raises:
            SourceError: the source failed for good.
            SinkError: a sink cannot be opened or written.
        """
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.enter_context(sink)
            for result in self.results():
                self.summary.add(result)
        self.summary.skipped = len(self._source.failures)
        return self.summary

    def results(self) -> Iterator[Result]:
        """Yield each result after its sinks were served; the sinks must be open.

        The picture of a recording's frame is drawn while the model sees the next one, so that its
        sinks are served one frame later. A live frame is shown at once.
        """
        started: float | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="patchwatch-overlay") as pool:
            for job in self._in_order(pool):
                started = job.began if started is None else started
                self._serve(job)
                self.summary.elapsed_s = time.perf_counter() - started
                yield job.result

    def _in_order(self, pool: ThreadPoolExecutor) -> Iterator[_Job]:
        """Judged frames, each handed on when its picture has had time to be drawn."""
        return _one_behind(self._jobs(pool), lambda: self._source.kind == "file")

    def _jobs(self, pool: ThreadPoolExecutor) -> Iterator[_Job]:
        # A recording's next frame is fetched while the backend works; a live one is answered first.
        ahead = self._detector.works_ahead
        for begun in _one_behind(self._begun(), lambda: ahead and self._source.kind == "file"):
            result = self._silence() if begun.frame is None else self._judge(begun.frame, begun)
            self._remember(result)
            picture = None
            if any(sink.wants_picture for sink in self._sinks):
                picture = pool.submit(self._paint, result, self._hud())
            yield _Job(result, begun.watch, picture, begun.began)

    def _paint(self, result: Result, hud: Hud) -> Image:
        frame = bgr_frame(result.frame)
        if frame is not result.frame:
            result = dataclasses.replace(result, frame=frame)
        return self._painter.paint(result, hud)

    def _begun(self) -> Iterator[_Begun]:
        frames = iter(self._source)
        while not self._should_stop():
            watch = Stopwatch()
            try:
                with watch.stage("capture"):
                    frame = self._next_in_time(frames)
            except StopIteration:
                return
            began = time.perf_counter()
            self._taken += frame is not None
            work = None if frame is None else self._begin(frame, watch)
            yield _Begun(frame, watch, began, work)

    def _begin(self, frame: Frame, watch: Stopwatch) -> Crops | Pending | RegionError:
        try:
            return self._detector.begin(frame.image, watch, frame.pixel_format)
        except RegionError as error:
            return error

    def _next_in_time(self, frames: Iterator[Frame | None]) -> Frame | None:
        frame = next(frames)
        if frame is not None and self._pacer is not None:
            self._pacer.wait(frame)
        return frame

    def _should_stop(self) -> bool:
        return self._controls.stop or (
            self._max_frames is not None and self._taken >= self._max_frames
        )

    def _judge(self, frame: Frame, begun: _Begun) -> Result:
        if self._source.kind == "stills":
            self._start_anew()
        self._last = frame
        watch = begun.watch
        regions, error = self._evidence(begun)
        evidence = combine(regions) if regions else None
        with watch.stage("verdict"):
            logit = evidence.logit if evidence is not None else math.nan
            verdict = self._tracker.update(frame.time_s, logit)
        if regions and not math.isfinite(logit):
            error = "the model gave a logit that is not finite"
        if error is not None:
            log.warning("%s, frame %d: %s", frame.source, frame.index, error)
        return Result(frame, evidence, verdict, watch.timings_ms, regions, error)

    def _evidence(self, begun: _Begun) -> tuple[tuple[Region, ...], str | None]:
        if begun.work is None or isinstance(begun.work, RegionError):
            return (), str(begun.work)
        return self._detector.finish(begun.work, begun.watch), None

    def _start_anew(self) -> None:
        self._tracker = VerdictTracker(self._calibration, self._settings)
        self._history.clear()

    def _silence(self) -> Result:
        height, width = PLACEHOLDER_HW if self._last is None else self._last.size_hw
        frame = Frame(
            image=np.zeros((height, width, 3), np.uint8),
            index=-1 if self._last is None else self._last.index,
            captured_at=time.time(),
            source=self._source.name,
        )
        return Result(frame, None, self._tracker.no_signal())

    def _serve(self, job: _Job) -> None:
        picture: Image | None = None
        if job.picture is not None:
            with job.watch.stage("overlay"):
                picture = job.picture.result()
        for sink in self._sinks:
            with job.watch.stage(sink.name):
                sink.write(job.result, picture)
        self._finished.append(time.perf_counter())

    def _remember(self, result: Result) -> None:
        now = result.frame.time_s
        if self._history and now < self._history[-1][0]:
            self._history.clear()
        self._history.append((now, result.verdict.score))
        while self._history[0][0] < now - HISTORY_S:
            self._history.popleft()

    def _hud(self) -> Hud:
        return Hud(
            patches=self._detector.backend.manifest.patches,
            calibration=self._calibration,
            history=tuple(self._history),
            fps=self._rate(),
            heat_map=self._controls.heat_map,
        )

    def _rate(self) -> float | None:
        if len(self._finished) < 2:
            return None
        return (len(self._finished) - 1) / max(self._finished[-1] - self._finished[0], 1e-9)


def _one_behind(items: Iterator[T], hold: Callable[[], bool]) -> Iterator[T]:
    """The items, each held back until the next was fetched while `hold` says so.

    What is held back when fetching fails is given out before the error is.
    """
    waiting: list[T] = []
    while True:
        try:
            item = next(items, None)
        except (PatchwatchError, KeyboardInterrupt):
            yield from waiting
            raise
        yield from waiting
        if item is None:
            return
        waiting = [item] if hold() else []
        if not waiting:
            yield item


def scored_evidence(detector: Detector, image: Image) -> Evidence:
    """Score one picture outside a pipeline, uint8 [H, W, 3] BGR.

    Raises:
        RegionError: it is smaller than one patch of the model.
    """
    return combine(detector.detect(image, Stopwatch()))
