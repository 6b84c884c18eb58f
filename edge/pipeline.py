"""The loop over recordings and pictures: every frame, in order, as fast as it goes or paced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from edge.decision.judge import Judge
from edge.decision.recording import RecordingJudge
from edge.decision.verdict import STILL, VerdictSettings
from edge.detector import Detector, Job, Stopwatch, combine, finish_jobs
from edge.errors import PatchwatchError
from edge.live.views import Controls, View
from edge.manifest import Calibration
from edge.overlay import Painter
from edge.pace import Pacer
from edge.sinks.base import Sink
from edge.sources.base import Source
from edge.summary import Summary
from edge.types import Evidence, Image, Picture, Result

if TYPE_CHECKING:
    from edge.provenance import Provenance

T = TypeVar("T")


class Pipeline:
    """Runs one recording, or pictures, through a detector into sinks, in the calling thread.

    The source is open, as it tells sinks its rate. Views and sinks are not: `run` opens and closes
    them, and serves them in that order, so that what comes later sees the time of what came first.
    A window needs the calling thread to be the main one.

    Args:
        max_frames: stop after this many frames; None for all.
        pacer: holds a recording back to its own speed, and may skip frames that come too late;
            None for every frame as fast as it goes.
        calibration: turns logits into scores; the model's own if None.
        declared: gives what the file of a frame says of itself, by its name; None for nothing.
    """

    def __init__(
        self,
        source: Source,
        detector: Detector,
        sinks: Sequence[Sink],
        settings: VerdictSettings,
        *,
        views: Sequence[View] = (),
        controls: Controls | None = None,
        max_frames: int | None = None,
        pacer: Pacer | None = None,
        calibration: Calibration | None = None,
        declared: Callable[[str], Provenance | None] | None = None,
    ) -> None:
        self._declared, self._said = declared or (lambda name: None), ""
        self._source = source
        self._stills = source.kind == "stills"
        self._detector = detector
        self._sinks = sinks
        self._views = views
        self._controls = controls or Controls()
        self._max_frames = max_frames
        self._pacer = pacer
        calibration = calibration or detector.backend.manifest.calibration
        settings = settings.for_recording(source.length, source.fps)
        if self._stills:
            settings = STILL.model_copy(update={"threshold": settings.threshold})
        self._judge = Judge.of(detector, source.name, calibration, settings)
        self._painter = Painter(calibration, detector.backend.manifest.patches)
        self._draws = any(sink.wants_picture for sink in sinks)
        self._began_s = 0.0
        self.summary = Summary()
        if not self._stills:
            over = settings.for_recording(source.length, source.fps)
            self.summary.recording = RecordingJudge(over)

    def run(self) -> Summary:
        """Run until the source ends, a stop is asked for or an error ends it.

        The picture of a recording's frame is drawn while the model sees the next one, so that its
        sinks are served one frame later. Every sink is finished in any case, Ctrl-C included.
        Raises a SourceError, or a SinkError of a sink or a view.
        """
        with ExitStack() as stack:
            for view in self._views:
                stack.enter_context(view)
                view.sources([self._source.name])
            for sink in self._sinks:
                stack.enter_context(sink)
            pool = stack.enter_context(ThreadPoolExecutor(1, "patchwatch-overlay"))
            model = stack.enter_context(ThreadPoolExecutor(1, "patchwatch-model"))
            judged = self._judged(pool, model)
            for result, picture, watch in _one_behind(judged, not self._stills):
                self._serve(result, picture, watch)
                self.summary.elapsed_s = time.perf_counter() - self._began_s
                self.summary.add(result)
        self.summary.skipped = len(self._source.failures)
        self.summary.damaged = self._source.damaged
        return self.summary

    def _judged(
        self, pool: ThreadPoolExecutor, model: ThreadPoolExecutor
    ) -> Iterator[tuple[Result, Picture, Stopwatch]]:
        # A recording's next frame is fetched and cut while the model sees this one.
        submitted = ((job, model.submit(finish_jobs, [job])) for job in self._jobs())
        for job, found in _one_behind(submitted, not self._stills):
            if self._stills:
                self._judge.reset()
                self._painter.reset()
            (regions,) = found.result()
            result = self._judge.judge(
                job.frame, regions, job.error, job.watch, False, job.looked, job.unchanged
            )
            said = self._declared(result.frame.source)
            if said is not None and result.frame.source != self._said:
                self._said = result.frame.source
                result = replace(result, provenance=said)
            headline = "" if said is None else said.headline
            picture = self._painter.picture(result, self._controls.heat_map, headline)
            if self._draws:
                pool.submit(picture)
            yield result, picture, job.watch

    def _jobs(self) -> Iterator[Job]:
        frames = iter(self._source)
        count = 0
        while not self._controls.stop and count != self._max_frames:
            watch = Stopwatch()
            with watch.stage("capture"):
                frame = next(frames, None)
                while frame and self._pacer and not self._pacer.wait(frame.pts):
                    self.summary.late += 1
                    frame = next(frames, None)
            if frame is None:
                return
            self._began_s = self._began_s or time.perf_counter()
            count += 1
            if self._stills:
                self._detector.restart()
            yield self._detector.start(frame, watch)

    def _serve(self, result: Result, picture: Picture, watch: Stopwatch) -> None:
        for view in self._views:
            with watch.stage(view.name):
                view.result(self._source.name, result, picture)
                view.tick()
        if self._draws:
            with watch.stage("overlay"):
                picture()
        for sink in self._sinks:
            with watch.stage(sink.name):
                sink.write(result, picture)


def _one_behind(items: Iterator[T], hold: bool) -> Iterator[T]:
    """The items, each held back until the next was fetched, if `hold` says so.

    What is held back when fetching fails is yielded before the error is raised.
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
        waiting = [item] if hold else []
        if not waiting:
            yield item


def scored_evidence(detector: Detector, image: Image) -> Evidence:
    """Score one picture outside a pipeline, uint8 [H, W, 3] BGR.

    Raises:
        RegionError: it is smaller than one patch of the model.
    """
    return combine(detector.detect(image, Stopwatch()))
