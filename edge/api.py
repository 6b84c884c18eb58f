"""Patchwatch from Python, in four lines:

    import patchwatch

    with patchwatch.open_detector() as detector:
        print(detector.score("picture.jpg"))

The commands use what is here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from typing_extensions import Self

from edge.config import RunConfig, build_config
from edge.decision.judge import Judge
from edge.decision.verdict import STILL, VerdictSettings
from edge.detector import Stopwatch, finish_jobs
from edge.live.loop import Camera
from edge.live.views import View
from edge.manifest import Manifest
from edge.opening import open_detector as opened
from edge.sources import open_source
from edge.sources.images import read_image
from edge.sources.live import LiveSource
from edge.tensorrt.store import BuildEngine
from edge.types import Frame, Image, Picture, Result, Verdict
from edge.weights import DEFAULT


def open_detector(model: str = DEFAULT, **keys: object) -> Patchwatch:
    """Open a detector, to be closed again; a context manager.

    Args:
        model: a shipped model's name, or a model file.
        keys: sections and keys of the configuration, as in a file: `region="center:512"`,
            `verdict={"threshold": 0.9}`, `backend={"threads": 1}`.

    Raises:
        ConfigError: an unknown key or a wrong value.
        ModelError: the model cannot be used.
        MissingDependency: a library is not installed; says which command installs it.
    """
    return Patchwatch(build_config({"model": model, **keys}, "open_detector"))


class Patchwatch:
    """An open detector. Not thread-safe.

    Attributes:
        detector: the backend, and the region of a picture that it sees.
        manifest: what is known of the model: its name, figures, licence and threshold.
    """

    def __init__(self, config: RunConfig, build: BuildEngine | None = None) -> None:
        self._config = config
        self._open = ExitStack()
        self.detector = self._open.enter_context(opened(config, build))
        self.manifest: Manifest = self.detector.backend.manifest
        self.calibration = config.verdict.calibration(self.manifest.calibration)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the model; may be called twice."""
        self._open.close()

    def score(self, picture: Image | str | os.PathLike[str]) -> Verdict:
        """The verdict on one picture.

        Args:
            picture: uint8 [H, W, 3] in BGR, OpenCV's order of colours; or the path of a file.

        Returns:
            `state` is `fake`, `real` or `uncertain`; `score` is P(fake) in 0..1, None where nothing
            could be scored (no face, for a model of faces); `reason` says what looks fake.

        Raises:
            SourceError: the file is no picture that can be read.
            RegionError: it is smaller than one patch of the model.
        """
        image = picture if not isinstance(picture, str | os.PathLike) else read_image(Path(picture))
        return self.judge(Frame(image, 0, time.time(), "picture")).verdict

    def judge(self, frame: Frame) -> Result:
        """All that is known of a picture that stands alone, with the patch logits of each region.

        Raises:
            RegionError: it is smaller than one patch of the model.
        """
        watch = Stopwatch()
        regions = self.detector.detect(frame.image, watch)
        settings = STILL.model_copy(update={"threshold": self._config.verdict.threshold})
        judge = Judge.of(self.detector, frame.source, self.calibration, settings)
        return judge.judge(frame, regions, None, watch)

    def watch(self, source: str | os.PathLike[str]) -> Iterator[Result]:
        """Score a source frame by frame.

        Args:
            source: as `patchwatch run` takes it. Of a recording every frame comes, in order; of a
                camera or stream the newest, and a result without signal where none comes.

        Yields:
            A result for each frame: `frame`, `verdict` up to it, `evidence` of it, `error`.

        Raises:
            SourceError: it cannot be opened, or not any longer.
        """
        opened_source = open_source(os.fspath(source), **self._config.capture.options())
        if isinstance(opened_source, LiveSource):
            yield from self._watch_live(opened_source)
            return
        with opened_source as recording:
            stills = recording.kind == "stills"
            settings: VerdictSettings = self._config.verdict
            if stills:
                settings = STILL.model_copy(update={"threshold": settings.threshold})
            judge = Judge.of(self.detector, recording.name, self.calibration, settings)
            self.detector.restart()
            for frame in recording:
                if stills:
                    judge.reset()
                    self.detector.restart()
                job = self.detector.start(frame, Stopwatch())
                (regions,) = finish_jobs([job])
                yield judge.judge(frame, regions, job.error, job.watch, looked=job.looked)

    def _watch_live(self, source: LiveSource) -> Iterator[Result]:
        heard, wake = _Latest(), Event()
        source.subscribe(wake.set)
        settings = self._config.verdict
        camera = Camera(
            source.name, source, self.detector, settings, self.calibration, views=[heard]
        )
        camera.open()
        try:
            while not camera.over:
                camera.check_signal()
                if source.waiting and (shot := camera.take()) is not None:
                    job = camera.detector.start(*shot)
                    camera.finish(job, finish_jobs([job])[0])
                yield from heard.taken()
                if not source.waiting:
                    wake.wait(min(1.0, max(0.0, source.next_poll_s() - time.monotonic())))
                    wake.clear()
            if camera.failed is not None:
                raise camera.failed
        finally:
            camera.close()


class _Latest(View):
    """Hands on what a camera delivers."""

    name = "api"

    def __init__(self) -> None:
        self._results: list[Result] = []

    def result(self, name: str, result: Result, picture: Picture) -> None:
        self._results.append(result)

    def taken(self) -> list[Result]:
        """The results since the last call."""
        results, self._results = self._results, []
        return results
