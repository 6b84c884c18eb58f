"""Figures for Prometheus: counted by the sources, read when they are scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata

from prometheus_client import CollectorRegistry, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.manifest import Manifest
from edge.sources.live import Health
from edge.types import Result
from edge.web.hub import CameraState, Hub

_STATES = ("real", "fake", "uncertain", "no_signal")
_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_AGE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_COUNTERS: dict[str, tuple[str, Callable[[Health], int]]] = {
    "frames_received": ("Frames that arrived", lambda h: h.received),
    "frames_skipped": ("Frames replaced by a newer one", lambda h: h.skipped + h.old),
    "frames_corrupt": ("Frames that could not be converted", lambda h: h.corrupt),
    "reconnects": ("How often frames came again from a new capture", lambda h: h.reconnects),
    "opens": ("Captures started", lambda h: h.opens),
}


class Metrics(Collector):
    """The figures of a run; a camera is a label, never part of a name."""

    def __init__(self, hub: Hub, model: Manifest) -> None:
        self._hub = hub
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._latency = Histogram(
            "patchwatch_latency_seconds",
            "Time of a stage for one frame",
            ["camera", "stage"],
            buckets=_LATENCY_S,
            registry=self._registry,
        )
        self._age = Histogram(
            "patchwatch_age_seconds",
            "From a frame's capture to its verdict",
            ["camera"],
            buckets=_AGE_S,
            registry=self._registry,
        )
        version = metadata.version("patchwatch")
        Info("patchwatch_build", "The program", registry=self._registry).info({"version": version})
        self._model = Info("patchwatch_model", "The model", registry=self._registry)
        self.switched(model)

    def switched(self, model: Manifest) -> None:
        """Another model judges from now on."""
        card = {"name": model.name, "architecture": model.architecture, "region": model.region}
        self._model.info(card | {"precision": model.precision})

    def add(self, name: str, result: Result) -> None:
        """Count a result; returns at once."""
        if result.verdict.state == "no_signal":
            return
        for stage, milliseconds in result.timings_ms.items():
            self._latency.labels(name, stage).observe(milliseconds / 1e3)
        if result.age_ms is not None:
            self._age.labels(name).observe(result.age_ms / 1e3)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What is read at a scrape."""
        cameras = list(self._hub.cameras.values())
        for name, (text, value) in _COUNTERS.items():
            family = CounterMetricFamily(f"patchwatch_{name}", text, labels=["camera"])
            for camera in cameras:
                if camera.health is not None:
                    family.add_metric([camera.name], value(camera.health))
            yield family
        yield from _gauges(cameras)
        yield from _verdicts(cameras)
        yield from _sinks(cameras)
        viewers = GaugeMetricFamily("patchwatch_viewers", "Live pictures that are watched now")
        viewers.add_metric([], self._hub.viewers)
        yield viewers


def _gauges(cameras: list[CameraState]) -> Iterator[Metric]:
    up = GaugeMetricFamily("patchwatch_up", "1 while pictures come", labels=["camera"])
    fps = GaugeMetricFamily("patchwatch_processed_fps", "Frames scored a second", labels=["camera"])
    score = GaugeMetricFamily("patchwatch_score", "Calibrated P(fake), 0..1", labels=["camera"])
    stuck = GaugeMetricFamily(
        "patchwatch_stalled_threads", "Threads in a call that does not return", labels=["camera"]
    )
    for camera in cameras:
        up.add_metric([camera.name], float(camera.alive))
        if camera.health is not None:
            stuck.add_metric([camera.name], camera.health.abandoned)
        if camera.newest is None:
            continue
        result, picture = camera.newest
        rate = picture.hud.fps if picture.hud is not None and camera.alive else None
        fps.add_metric([camera.name], rate or 0.0)
        if result.verdict.score is not None:
            score.add_metric([camera.name], result.verdict.score)
    yield from (up, fps, score, stuck)


def _verdicts(cameras: list[CameraState]) -> Iterator[Metric]:
    verdict = GaugeMetricFamily(
        "patchwatch_verdict", "1 for the verdict that holds", labels=["camera", "state"]
    )
    for camera in cameras:
        for state in _STATES if camera.newest else ():
            holds = camera.newest is not None and camera.newest[0].verdict.state == state
            verdict.add_metric([camera.name, state], float(holds))
    yield verdict


def _sinks(cameras: list[CameraState]) -> Iterator[Metric]:
    written = CounterMetricFamily(
        "patchwatch_sink_written", "Results that a sink took", labels=["camera", "sink"]
    )
    dropped = CounterMetricFamily(
        "patchwatch_sink_dropped", "Results that a sink did not take", labels=["camera", "sink"]
    )
    for camera in cameras:
        for sink in camera.sinks:
            name = sink.name.removeprefix(f"{camera.name}: ")
            written.add_metric([camera.name, name], sink.written)
            dropped.add_metric([camera.name, name], sink.dropped)
    yield from (written, dropped)
