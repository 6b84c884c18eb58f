"""The live application: cameras made from their configuration, and changed while they run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from rich.console import Console

from edge.config import RunConfig, build_config
from edge.config.parts import CameraConfig
from edge.detector import Detector
from edge.errors import ConfigError, PatchwatchError, SourceError
from edge.fleet import ModelUpdates
from edge.live.loop import Camera, LiveLoop, Trial
from edge.live.scheduler import batch_that_pays
from edge.live.status import Outcome
from edge.live.views import Controls, View, make_views
from edge.manifest import Calibration
from edge.regions import parse_region
from edge.sinks import make_sinks, wanted
from edge.sinks.base import SinkContext
from edge.sinks.worker import CAPACITY, SinkWorker
from edge.sources import open_source
from edge.sources.live import LiveSource

log = logging.getLogger(__name__)

_FIXED = ("model", "models", "backend", "faces", "batch", "max_frames", "web")
"""Keys that cannot change while cameras run."""


class LiveSession:
    """The cameras of a configuration (see `single` for one), which share a backend.

    `reread` reads the configuration again; None where it comes from no file. `updates` bring new
    models, entered, and close those that have not passed; `close_model` gives the first one back.
    """

    def __init__(
        self,
        config: RunConfig,
        detector: Detector,
        console: Console | None = None,
        reread: Callable[[], RunConfig] | None = None,
        updates: ModelUpdates | None = None,
        close_model: Callable[[], object] = lambda: None,
    ) -> None:
        self._config = config
        self._updates, self._close_model = updates, close_model
        self._trial: Trial | None = None
        self._wanted = {camera.name: camera for camera in config.each_camera()}
        self._detector = detector
        self._console = console
        self._reread = reread
        self._reread_due = False
        self._controls = Controls(heat_map=config.output.heat_map)
        self._views: list[View] = []
        self._shared: dict[tuple[str, str], SinkWorker] = {}
        self._loop: LiveLoop | None = None
        self._gone: list[Camera] = []

    def reread_soon(self) -> None:
        """Read the configuration again at the next opportunity; may be called by a signal."""
        self._reread_due = True

    def run(self) -> list[Outcome]:
        """Run until every camera is over, or a stop is asked for.

        Returns what became of each, including those that left meanwhile. Raises a PatchwatchError
        where the model failed, a sink cannot be opened, or all were given up.
        """
        config, names = self._config, list(self._wanted)
        title = names[0] if len(names) == 1 else f"{len(names)} cameras"
        model = self._detector.backend.manifest
        self._views = make_views(config, self._controls, self._console, title, model)
        cameras = [self._make(camera) for camera in self._wanted.values()]
        batch = 1
        if len(cameras) > 1:
            batch = config.batch.frames or batch_that_pays(self._detector)
        loop = LiveLoop(cameras, self._views, self._controls, batch, config.batch.wait_ms / 1e3)
        with ExitStack() as stack:
            stack.callback(lambda: self._close_model())  # by then perhaps another
            for view in self._views:
                stack.enter_context(view)
            self._loop = stack.enter_context(loop)
            loop.run(self._tick)
        return [
            Outcome(c.name, c.summary, c.failed, c.source.health(), c.silent_share)
            for c in (*self._gone, *loop.cameras)
        ]

    def _tick(self) -> None:
        if self._loop is None:
            return
        due = self._reread_due and self._reread is not None
        if self._updates is not None and self._is_trying(self._loop, self._updates, due):
            return
        if not self._reread_due or self._reread is None:
            return
        self._reread_due = False
        try:
            changes = self._change(self._loop, self._reread())
        except PatchwatchError as error:
            log.error("the new configuration is rejected; keeping the current one: %s", error)
        else:
            log.info("the configuration was reloaded: %s", changes)

    def _is_trying(self, loop: LiveLoop, updates: ModelUpdates, withdraw: bool) -> bool:
        """Begin the trial of a new model, withdraw it, or see what came of it; whether one goes on.

        A trial needs frames, and may be long: who wants the cameras changed does not wait for it.
        """
        if self._trial is None:
            if not withdraw:
                self._trial = self._begun(loop, updates)
        elif self._trial.over:
            self._settle(self._trial, updates)
            self._trial = None
        elif withdraw:
            loop.withdraw(self._trial)
        return self._trial is not None

    def _begun(self, loop: LiveLoop, updates: ModelUpdates) -> Trial | None:
        if (candidate := updates.take()) is None:
            return None
        try:
            models = {
                name: self._model_of(camera, candidate.detector)
                for name, camera in self._wanted.items()
            }
        except PatchwatchError as error:
            updates.settle(False, error)
            return None
        trial = Trial(models)
        loop.switch(trial)
        return trial

    def _settle(self, trial: Trial, updates: ModelUpdates) -> None:
        candidate = updates.settle(trial.passed, trial.error)
        if not trial.passed:
            return
        close_old, self._close_model = self._close_model, candidate.close
        self._detector, model = candidate.detector, candidate.detector.backend.manifest
        for view in self._views:
            view.switched(model, candidate.offer.path)
        log.info("the model %s (%s) judges now", model.name, candidate.offer.sha256[:12])
        close_old()

    def _model_of(self, config: CameraConfig, base: Detector) -> tuple[Detector, Calibration]:
        """A camera's own detector on the models of another, and what calibrates its logits."""
        region = parse_region(config.region) if config.region else base.region
        detector = Detector(base.backend, region, base.faces, config.verdict.reuse_of())
        if region != base.region:
            detector.warm_up()
        return detector, config.verdict.calibration(base.backend.manifest.calibration)

    def _make(self, config: CameraConfig) -> Camera:
        """A camera, unopened; raises a SourceError where its source cannot be one."""
        options = config.capture.options()
        source = open_source(config.source, name=config.name, as_live=True, **options)
        if not isinstance(source, LiveSource):
            raise SourceError(f"{source.name}: expected a camera, a stream or a video.")
        detector, calibration = self._model_of(config, self._detector)
        if config.output.save is not None:
            from edge.sinks.sound import sound_of

            sound_of(config.source, None)
        own, shared = self._workers(config)
        hidden = () if config.output.window else ("show",)
        return Camera(
            config.name,
            source,
            detector,
            config.verdict,
            calibration,
            workers=own,
            shared=shared,
            views=[view for view in self._views if view.name not in hidden],
            controls=self._controls,
            max_frames=self._config.max_frames,
            max_fps=config.verdict.max_fps,
        )

    def _context(self, config: CameraConfig) -> SinkContext:
        return SinkContext(config.name, model=self._detector.backend.manifest)

    def _workers(self, config: CameraConfig) -> tuple[list[SinkWorker], list[SinkWorker]]:
        """Those of its own sinks, and of those that it shares with other cameras."""
        own, shared = [], []
        for kind in wanted(config):
            sink = kind.make(config, self._context(config))
            if kind.sharing != "sink":
                name = f"{config.name}: {kind.name}"
                own.append(SinkWorker(sink, name=name))
                continue
            place = str(kind.place(config, config.name))
            if (kind.name, place) not in self._shared:
                self._shared[kind.name, place] = SinkWorker(
                    sink,
                    name=place,
                    capacity=CAPACITY * max(2, len(self._wanted)),
                    on_gone=self._stop,
                )
            shared.append(self._shared[kind.name, place])
        return own, shared

    def _stop(self) -> None:
        """Whoever reads the output has gone."""
        if self._loop is not None:
            self._loop.stop(BrokenPipeError())

    def _change(self, loop: LiveLoop, config: RunConfig) -> str:
        """Apply a new configuration, or raise a PatchwatchError and change nothing.

        Returns what changed, in words.
        """
        for key in _FIXED:
            if getattr(self._config, key) != getattr(config, key):
                raise ConfigError(f"the key {key!r} changed, which needs a restart.")
        if not config.cameras:
            raise ConfigError("it has no cameras. Expected at least one under 'cameras'.")
        wanted = {camera.name: camera for camera in config.each_camera()}
        stay = {name for name, camera in wanted.items() if self._wanted.get(name) == camera}
        gone = [name for name in self._wanted if name not in stay]
        fresh = [camera for name, camera in wanted.items() if name not in stay]
        before, self._config, self._wanted = (self._config, self._wanted), config, wanted
        try:
            for camera in fresh:
                for sink in make_sinks(camera, self._context(camera)):
                    sink.check()
            new = [self._make(camera) for camera in fresh]
        except PatchwatchError:
            self._config, self._wanted = before
            raise
        self._gone += [camera for camera in loop.cameras if camera.name in gone]
        try:
            loop.change(gone, new)
        finally:
            running = {camera.name for camera in loop.cameras}
            self._wanted = {name: camera for name, camera in wanted.items() if name in running}
        return _in_words(gone, [camera.name for camera in fresh])


def single(config: RunConfig, name: str) -> RunConfig:
    """The configuration of one source as that of one camera, which has this name."""
    data = config.model_dump(exclude_unset=True, exclude={"source", "cameras"})
    return build_config({**data, "cameras": [{"name": name, "source": config.source}]})


def _in_words(gone: Sequence[str], new: Sequence[str]) -> str:
    parts = (
        ("restarted", [name for name in new if name in gone]),
        ("added", [name for name in new if name not in gone]),
        ("removed", [name for name in gone if name not in new]),
    )
    changes = [f"{', '.join(names)} {what}" for what, names in parts if names]
    return "; ".join(changes) or "no camera changed"
