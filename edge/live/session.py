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
from edge.live.loop import Camera, LiveLoop
from edge.live.scheduler import batch_that_pays
from edge.live.status import Outcome
from edge.live.views import Controls, View, make_views
from edge.regions import parse_region
from edge.sinks import make_sinks, wanted
from edge.sinks.base import SinkContext
from edge.sinks.worker import CAPACITY, SinkWorker
from edge.sources import open_source
from edge.sources.live import LiveSource

log = logging.getLogger(__name__)

_FIXED = ("model", "backend", "faces", "batch", "max_frames")
"""Keys that cannot change while cameras run."""


class LiveSession:
    """Live sources that run together.

    Args:
        config: with cameras; see `single` for one.
        detector: on the backend that all share.
        console: where progress is shown; None for none.
        reread: reads the configuration again; None where it comes from no file.
    """

    def __init__(
        self,
        config: RunConfig,
        detector: Detector,
        console: Console | None = None,
        reread: Callable[[], RunConfig] | None = None,
    ) -> None:
        self._config = config
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

        Returns:
            What became of each, including those that left meanwhile.

        Raises:
            PatchwatchError: the model failed, a sink cannot be opened, or all were given up.
        """
        config, names = self._config, list(self._wanted)
        title = names[0] if len(names) == 1 else f"{len(names)} cameras"
        self._views = make_views(config.output, self._controls, self._console, title)
        cameras = [self._make(camera) for camera in self._wanted.values()]
        batch = 1
        if len(cameras) > 1:
            batch = config.batch.frames or batch_that_pays(self._detector)
        loop = LiveLoop(cameras, self._views, self._controls, batch, config.batch.wait_ms / 1e3)
        with ExitStack() as stack:
            for view in self._views:
                stack.enter_context(view)
            self._loop = stack.enter_context(loop)
            loop.run(self._tick)
        return [
            Outcome(c.name, c.summary, c.failed, c.source.health(), c.silent_share)
            for c in (*self._gone, *loop.cameras)
        ]

    def _tick(self) -> None:
        if not self._reread_due or self._reread is None or self._loop is None:
            return
        self._reread_due = False
        try:
            changes = self._change(self._loop, self._reread())
        except PatchwatchError as error:
            log.error("the new configuration is rejected; keeping the current one: %s", error)
        else:
            log.info("the configuration was reloaded: %s", changes)

    def _make(self, config: CameraConfig) -> Camera:
        """A camera, unopened.

        Raises:
            SourceError: its source cannot be one.
        """
        region = parse_region(config.region) if config.region else self._detector.region
        detector = Detector(self._detector.backend, region, self._detector.faces)
        if region != self._detector.region:
            detector.warm_up()
        own, shared = self._workers(config)
        hidden = () if config.output.window else ("show",)
        return Camera(
            config.name,
            _live_source(config),
            detector,
            config.verdict,
            config.verdict.calibration(self._detector.backend.manifest.calibration),
            workers=own,
            shared=shared,
            views=[view for view in self._views if view.name not in hidden],
            controls=self._controls,
            max_frames=self._config.max_frames,
        )

    def _context(self, config: CameraConfig) -> SinkContext:
        calibration = config.verdict.calibration(self._detector.backend.manifest.calibration)
        return SinkContext(config.name, calibration.threshold)

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
        """Apply a new configuration.

        Returns:
            What changed, in words.

        Raises:
            PatchwatchError: it cannot be applied; nothing was changed.
        """
        _refuse_fixed(self._config, config)
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


def _live_source(config: CameraConfig) -> LiveSource:
    source = open_source(config.source, name=config.name, as_live=True, **config.capture.options())
    if not isinstance(source, LiveSource):
        raise SourceError(f"{source.name}: expected a camera, a stream or a video.")
    return source


def _refuse_fixed(old: RunConfig, new: RunConfig) -> None:
    for key in _FIXED:
        if getattr(old, key) != getattr(new, key):
            raise ConfigError(f"the key {key!r} changed, which needs a restart.")
    if not new.cameras:
        raise ConfigError("it has no cameras. Expected at least one under 'cameras'.")


def _in_words(gone: Sequence[str], new: Sequence[str]) -> str:
    parts = (
        ("restarted", [name for name in new if name in gone]),
        ("added", [name for name in new if name not in gone]),
        ("removed", [name for name in gone if name not in new]),
    )
    changes = [f"{', '.join(names)} {what}" for what, names in parts if names]
    return "; ".join(changes) or "no camera changed"
