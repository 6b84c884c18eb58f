"""The loop: frames in, evidence, verdict, annotated picture, sinks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from edge.backends.base import Pending
from edge.decision.judge import Judge
from edge.decision.verdict import STILL, VerdictSettings
from edge.detector import Crops, Detector, Stopwatch, combine
from edge.errors import PatchwatchError, RegionError
from edge.manifest import Calibration
from edge.overlay import Painter
from edge.pace import Pacer
from edge.sinks.base import Sink
from edge.sinks.controls import Controls
from edge.sources.base import Source
from edge.summary import Summary
from edge.types import Evidence, Frame, Image, Picture, Region, Result

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
        picture: of the result; being drawn already if a sink wants it.
        watch: its stages so far; `overlay` is what the loop waited for the picture.
        began: when it was captured, on the clock of `time.perf_counter`.
    """

    result: Result
    picture: Picture
    watch: Stopwatch
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
        calibration: turns logits into scores; the model's own if None.
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
        calibration: Calibration | None = None,
    ) -> None:
        self._source = source
        self._detector = detector
        self._sinks = sinks
        self._controls = controls or Controls()
        self._max_frames = max_frames
        self._pacer = pacer
        manifest = detector.backend.manifest
        calibration = calibration or manifest.calibration
        settings = STILL if source.kind == "stills" else settings
        faces = detector.region.kind == "faces"
        self._judge = Judge(source.name, calibration, settings, faces)
        self._painter = Painter(calibration, manifest.patches)
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
            result = self._result(begun)
            picture = self._painter.picture(result, self._controls.heat_map)
            if any(sink.wants_picture for sink in self._sinks):
                pool.submit(picture)
            yield _Job(result, picture, begun.watch, begun.began)

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
        if self._source.kind == "stills":
            self._detector.start_anew()
        try:
            return self._detector.begin(frame.image, watch, frame.pixel_format, frame.source)
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

    def _result(self, begun: _Begun) -> Result:
        if begun.frame is None:
            return self._judge.silence()
        if self._source.kind == "stills":
            self._judge.reset()
            self._painter.reset()
        regions, error = self._evidence(begun)
        live = self._source.kind == "live"
        return self._judge.judge(begun.frame, regions, error, begun.watch, live)

    def _evidence(self, begun: _Begun) -> tuple[tuple[Region, ...], str | None]:
        if begun.work is None or isinstance(begun.work, RegionError):
            return (), str(begun.work)
        return self._detector.finish(begun.work, begun.watch), None

    def _serve(self, job: _Job) -> None:
        if any(sink.wants_picture for sink in self._sinks):
            with job.watch.stage("overlay"):
                job.picture()
        for sink in self._sinks:
            with job.watch.stage(sink.name):
                sink.write(job.result, job.picture)


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
