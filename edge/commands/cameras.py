"""Live cameras, from their configuration: made, shown, and read anew while they run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console

from edge.commands.outputs import open_wall
from edge.config import CameraConfig, RunConfig, build_config
from edge.detector import Detector
from edge.errors import ConfigError, PatchwatchError, SourceError
from edge.live.camera import Camera
from edge.live.loop import Station, batch_that_pays
from edge.overlay.grid import Cell
from edge.regions import parse_region
from edge.sinks import make_sinks, wanted
from edge.sinks.base import Sink, SinkContext
from edge.sinks.controls import Controls
from edge.sinks.status import StatusRow, StatusTable, SummaryRow
from edge.sinks.wall import Wall
from edge.sinks.worker import CAPACITY, SinkWorker
from edge.sources import open_source
from edge.sources.live import Health, LiveSource
from edge.summary import Summary

log = logging.getLogger(__name__)

STATUS_S = 0.25
"""How often the terminal is written to."""

WALL_S = 0.02
"""How often the window looks for a key or a new picture."""

_NOT_WHILE_RUNNING = ("model", "backend", "faces", "batch", "max_frames")


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a source.

    Attributes:
        name: fit to be shown.
        summary: what was done.
        failed: why it was given up; None where it was not.
        row: the same for a table of several; None of a recording.
    """

    name: str
    summary: Summary
    failed: PatchwatchError | None = None
    row: SummaryRow | None = None


class Watch:
    """Live cameras that are watched together.

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
        self._controls = Controls(heat_map=config.output.heat_map)
        self._shared: dict[tuple[str, str], SinkWorker] = {}
        self._asked = False
        self._station: Station | None = None
        self._gone: list[Camera] = []
        self._wall: Wall | None = None
        self._status: StatusTable | None = None
        self._status_due_s = 0.0

    def reread_soon(self) -> None:
        """Read the configuration again at the next opportunity; may be called by a signal."""
        self._asked = True

    def run(self) -> list[Seen]:
        """Watch until every camera is over, or a stop is asked for.

        Returns:
            What became of each, those too that left meanwhile.

        Raises:
            PatchwatchError: the model failed, a sink cannot be opened, or all were given up.
        """
        cameras = [self._make(camera) for camera in self._wanted.values()]
        with ExitStack() as stack:
            if self._config.output.window:
                self._wall = open_wall(self._config.output, self._controls, _title(cameras))
            if self._wall is not None:
                stack.enter_context(self._wall)
            if self._console is not None:
                self._status = stack.enter_context(StatusTable(self._console))
            batch = self._config.batch
            most = 1 if len(cameras) == 1 else batch.frames or batch_that_pays(self._detector)
            station = Station(cameras, self._controls, most, batch.wait_ms / 1e3)
            self._station = stack.enter_context(station)
            station.run(self._tick, STATUS_S if self._wall is None else WALL_S)
        return [
            Seen(camera.name, camera.summary, camera.failed, summary_of(camera))
            for camera in (*self._gone, *station.cameras)
        ]

    def _tick(self) -> None:
        """What the main thread does besides waiting."""
        if self._asked:
            self._asked = False
            self._read_again()
        if self._wall is not None:
            self._show(self._wall)
        if self._status is not None and time.monotonic() >= self._status_due_s:
            self._status_due_s = time.monotonic() + STATUS_S
            self._status.update([status_of(camera) for camera in self._cameras])

    @property
    def _cameras(self) -> Sequence[Camera]:
        return () if self._station is None else self._station.cameras

    def _show(self, wall: Wall) -> None:
        wall.show([cell_of(camera) for camera in self._cameras if self._is_shown(camera)])

    def _is_shown(self, camera: Camera) -> bool:
        return self._wanted[camera.name].output.window

    def _make(self, config: CameraConfig) -> Camera:
        """A camera, unopened.

        Raises:
            SourceError: its source cannot be one.
        """
        region = parse_region(config.region) if config.region else self._detector.region
        detector = Detector(self._detector.backend, region, self._detector.faces)
        if region != self._detector.region:
            detector.warm_up()
        own, shared = self._outlets(config)
        manifest = self._detector.backend.manifest
        return Camera(
            config.name,
            live_source(config),
            detector,
            config.verdict.settings(),
            config.verdict.calibration(manifest.calibration),
            outlets=own,
            shared=shared,
            controls=self._controls,
            max_frames=self._config.max_frames,
        )

    def _outlets(self, config: CameraConfig) -> tuple[list[SinkWorker], list[SinkWorker]]:
        """Its own, and those of several cameras."""
        own, shared = [], []
        for kind in wanted(config):
            sink = kind.make(config, self._context(config))
            if kind.sharing != "sink":
                own.append(sink_worker(sink, f"{config.name}: {kind.name}"))
                continue
            place = str(kind.place(config, config.name))
            if (kind.name, place) not in self._shared:
                self._shared[kind.name, place] = SinkWorker(
                    sink,
                    name=place,
                    capacity=CAPACITY * max(2, len(self._wanted)),
                    restart=lambda sink=sink: sink,  # type: ignore[misc]  # mypy does not infer it
                    on_gone=self._leave,
                )
            shared.append(self._shared[kind.name, place])
        return own, shared

    def _context(self, config: CameraConfig) -> SinkContext:
        calibration = config.verdict.calibration(self._detector.backend.manifest.calibration)
        return SinkContext(config.name, calibration.threshold)

    def _leave(self) -> None:
        if self._station is not None:
            self._station.stop(BrokenPipeError())

    def _read_again(self) -> None:
        if self._reread is None or self._station is None:
            return
        try:
            told = self._change(self._station, self._reread())
        except PatchwatchError as error:
            log.error("the new configuration is refused, and the old one stays: %s", error)
        else:
            log.info("the configuration was read again: %s", told)

    def _change(self, station: Station, config: RunConfig) -> str:
        """Go over to a configuration.

        Returns:
            What changed, in words.

        Raises:
            PatchwatchError: it cannot be gone over to; nothing was changed.
        """
        _refuse_what_stays(self._config, config)
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
        self._gone += [camera for camera in station.cameras if camera.name in gone]
        try:
            station.change(gone, new)
        finally:
            running = {camera.name for camera in station.cameras}
            self._wanted = {name: camera for name, camera in wanted.items() if name in running}
        return _changes(gone, [camera.name for camera in fresh])


def single(config: RunConfig, name: str) -> RunConfig:
    """The configuration of one source as that of one camera.

    Args:
        config: with a source.
        name: fit to be shown.
    """
    data = config.model_dump(exclude_unset=True, exclude={"source", "cameras"})
    camera = {"name": name, "source": config.source}
    return build_config({**data, "cameras": [camera]}, "command line")


def live_source(config: CameraConfig) -> LiveSource:
    """The source of a camera.

    Raises:
        SourceError: it is none that goes on by itself, or is not there.
    """
    source = open_source(config.source, name=config.name, as_live=True, **config.capture.options())
    if not isinstance(source, LiveSource):
        raise SourceError(f"{source.name}: expected a camera, a stream or a video.")
    return source


def sink_worker(sink: Sink, name: str) -> SinkWorker:
    """What serves a sink of one camera.

    Args:
        sink: unopened.
        name: fit to be shown.
    """
    return SinkWorker(sink, name=name, restart=lambda: sink)


def cell_of(camera: Camera) -> Cell:
    """What the window shows of a camera."""
    if camera.shown is None:
        return Cell(camera.name)
    result, picture = camera.shown
    return Cell(camera.name, result, picture.hud)


def _title(cameras: Sequence[Camera]) -> str:
    return cameras[0].name if len(cameras) == 1 else f"{len(cameras)} cameras"


def _refuse_what_stays(old: RunConfig, new: RunConfig) -> None:
    """Refuse what cannot change while cameras run.

    Raises:
        ConfigError: something of it did.
    """
    for key in _NOT_WHILE_RUNNING:
        if getattr(old, key) != getattr(new, key):
            raise ConfigError(f"the key {key!r} changed, which takes a restart.")
    if not new.cameras:
        raise ConfigError("it has no cameras. Expected at least one under 'cameras'.")


def _changes(gone: Sequence[str], new: Sequence[str]) -> str:
    parts = (
        ("restarted", [name for name in new if name in gone]),
        ("added", [name for name in new if name not in gone]),
        ("removed", [name for name in gone if name not in new]),
    )
    told = [f"{', '.join(names)} {what}" for what, names in parts if names]
    return "; ".join(told) or "no camera changed"


def status_of(camera: Camera) -> StatusRow:
    """A camera as a row of the table on the terminal."""
    summary, health = camera.summary, camera.source.health()
    return StatusRow(
        name=camera.name,
        verdict=summary.last_verdict,
        frames=summary.scored,
        fps=camera.fps,
        skipped=skipped_share(health),
        age_ms=summary.ages_ms[-1] if summary.ages_ms else None,
        signal=health.state,
        retry_in_s=health.retry_in_s,
        reason=health.error,
        dropped=sum(outlet.health().dropped for outlet in camera.outlets),
    )


def summary_of(camera: Camera) -> SummaryRow:
    """A camera as a row of the table at the end."""
    summary, health = camera.summary, camera.source.health()
    return SummaryRow(
        name=camera.name,
        frames=health.received,
        scored=summary.scored,
        skipped=skipped_share(health),
        reconnects=health.reconnects,
        no_signal=camera.silent_share,
        ages_ms=list(summary.ages_ms),
        verdict=summary.last_verdict,
    )


def skipped_share(health: Health) -> float | None:
    """Share of the frames that came and were not seen, 0..1; None before the first."""
    lost = health.skipped + health.old + health.spoilt
    return lost / health.received if health.received else None
