"""The loop over recordings and pictures: every frame, in order, as fast as it goes or paced."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from edge.decision.judge import Judge
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

T = TypeVar("T")


class Pipeline:
    """Runs one recording, or pictures, through a detector into sinks, in the calling thread.

    The source may read ahead in a thread of its own; a window needs the calling thread to be the
    main one.

    Args:
        source: open; it tells sinks its rate and length, so it is opened before they are made.
        detector: with an open backend.
        sinks: unopened, `run` opens and closes them; served in order, so that what comes later
            sees the time of what came first.
        settings: how much evidence a verdict needs.
        views: unopened, likewise; served before the sinks.
        controls: changed by views, read here.
        max_frames: stop after this many frames; None for all.
        pacer: holds a recording back to its own speed; None for as fast as it goes.
        calibration: turns logits into scores; the model's own if None.
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
    ) -> None:
        self._source = source
        self._stills = source.kind == "stills"
        self._detector = detector
        self._sinks = sinks
        self._views = views
        self._controls = controls or Controls()
        self._max_frames = max_frames
        self._pacer = pacer
        calibration = calibration or detector.backend.manifest.calibration
        self._judge = Judge(
            source.name,
            calibration,
            STILL if self._stills else settings,
            detector.region.kind == "faces",
        )
        self._painter = Painter(calibration, detector.backend.manifest.patches)
        self._draws = any(sink.wants_picture for sink in sinks)
        self._began_s = 0.0
        self.summary = Summary()

    def run(self) -> Summary:
        """Run until the source ends, a stop is asked for or an error ends it.

        The picture of a recording's frame is drawn while the model sees the next one, so that its
        sinks are served one frame later. Every sink is finished in any case, Ctrl-C included, so
        that what was written can be used.

        Raises:
            SourceError: the source failed for good.
            SinkError: a sink or a view cannot be opened or written.
        """
        with ExitStack() as stack:
            for view in self._views:
                stack.enter_context(view)
                view.sources([self._source.name])
            for sink in self._sinks:
                stack.enter_context(sink)
            pool = stack.enter_context(ThreadPoolExecutor(1, "patchwatch-overlay"))
            for result, picture, watch in _one_behind(self._judged(pool), not self._stills):
                self._serve(result, picture, watch)
                self.summary.elapsed_s = time.perf_counter() - self._began_s
                self.summary.add(result)
        self.summary.skipped = len(self._source.failures)
        self.summary.damaged = self._source.damaged
        return self.summary

    def _judged(self, pool: ThreadPoolExecutor) -> Iterator[tuple[Result, Picture, Stopwatch]]:
        # A recording's next frame is fetched while the backend works.
        for job in _one_behind(self._jobs(), self._detector.works_ahead and not self._stills):
            if self._stills:
                self._judge.reset()
                self._painter.reset()
            (regions,) = finish_jobs(self._detector.backend, [job])
            result = self._judge.judge(job.frame, regions, job.error, job.watch)
            picture = self._painter.picture(result, self._controls.heat_map)
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
                if frame is not None and self._pacer is not None:
                    self._pacer.wait(frame.pts)
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
