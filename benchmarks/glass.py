"""Glass to verdict: from when a camera shows a picture to the verdict on it, in the live loop.

Included: RTSP over local TCP, what FFmpeg holds back while it parses and decodes, waiting for the
model, the model, the verdict. Not included: a camera's exposure, readout and encoding, a network, a
screen.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.cameras import AgeSink, CameraProcess
from benchmarks.film import FPS, Size, make_film
from benchmarks.section import Row
from benchmarks.stats import percentiles
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.live.loop import Camera, LiveLoop
from edge.live.views import Controls
from edge.sinks.worker import SinkWorker
from edge.sources import open_source
from edge.sources.live import LiveSource

SETTLING_S, FIRST_S = 1.0, 20.0
"""What was sent while the stream was probed comes in a burst at first, and is left out; for how
long the first picture is waited for."""


def glass_to_verdict(size: Size, detector: Detector, seconds: float) -> Row:
    """Watch a camera on this machine in the loop that users run, and see how old verdicts are.

    Args:
        size: of the stream.
        detector: on an open backend, warm.
        seconds: to watch for, after settling.

    Raises:
        SourceError: the stream ended early.
        RuntimeError: the camera did not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        film = make_film(Path(folder) / "film", size, FPS)
        with CameraProcess(film, FPS, time.monotonic()) as process:
            source = open_source(process.address, name="camera")
            assert isinstance(source, LiveSource)
            sink = AgeSink(process)
            calibration = detector.backend.manifest.calibration
            settings, workers = VerdictSettings(), [SinkWorker(sink)]
            camera = Camera("camera", source, detector, settings, calibration, workers=workers)
            settled = _watch(camera, sink, seconds)
            received = source.health().received
    ages = list(sink.ages_ms)[settled:]
    row: Row = {"part": "glass", "clip": size.name, "stream_fps": FPS}
    if not ages:
        return row | {"missing": f"no picture of the stream came whole ({sink.scored} frames)."}
    return row | {
        "scored_frames": sink.scored,
        "skipped_frames": max(0, received - sink.scored),
        "unreadable_frames": sink.unreadable,
        **{f"latency_{name}_ms": value for name, value in percentiles(ages, (50, 90, 99)).items()},
        "latency_max_ms": max(ages),
        "settling_max_ms": max(sink.ages_ms[:settled], default=0.0),
        "model_p50_ms": median(camera.summary.latencies_ms["model"]),
        "samples_ms": [round(value, 3) for value in ages],
    }


def _watch(camera: Camera, sink: AgeSink, seconds: float) -> int:
    """Run the loop; gives how many ages were noted while it settled."""
    controls, began = Controls(), time.monotonic()
    settled: list[int] = []
    first_s: list[float] = []

    def tick() -> None:
        now = time.monotonic()
        if not sink.ages_ms:
            controls.stop = now > began + FIRST_S
            return
        if not first_s:
            first_s.append(now)
        if not settled and now > first_s[0] + SETTLING_S:
            settled.append(len(sink.ages_ms))
        controls.stop = now > first_s[0] + SETTLING_S + seconds

    with LiveLoop([camera], controls=controls) as loop:
        loop.run(tick, 0.05)
    return settled[0] if settled else 0
