"""Glass to verdict: from the drawing of a picture at the sender to the verdict on it.

Included: drawing the time into the picture, H.264 encoding without delay at the sender, RTSP over
local TCP, what FFmpeg holds back while it parses and decodes, waiting for the model, the model, the
verdict. Not included: a camera's exposure and readout, a network, a screen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from typing_extensions import Self

from benchmarks.end_to_end.clips import FPS, Size
from benchmarks.end_to_end.stamp import TURN_US, read_stamp
from benchmarks.end_to_end.stream import live_stream, now_us
from benchmarks.section import Row
from benchmarks.stats import median, percentiles
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.live.loop import Camera, LiveLoop
from edge.live.views import Controls
from edge.sinks.worker import SinkWorker
from edge.sources import open_source
from edge.sources.live import LiveSource
from edge.sources.policy import ReconnectPolicy
from edge.types import Picture, Result

SETTLING_S = 1.0
"""What a stream sent while it was probed comes in a burst at first; told apart."""


@dataclass(slots=True)
class Glass:
    """A sink that reads the time in each scored picture; stops the run after a while.

    Attributes:
        controls: of the run.
        seconds: to watch for after settling.
        first_ms: latencies while it settled.
        steady_ms: latencies from then on.
        unreadable: pictures whose time could not be read.
        last_index: of the newest frame; what a live source skipped counts.
        taken: frames that came.
    """

    controls: Controls
    seconds: float
    first_ms: list[float] = field(default_factory=list)
    steady_ms: list[float] = field(default_factory=list)
    unreadable: int = 0
    last_index: int = -1
    taken: int = 0
    name: str = "read back"
    wants_picture: bool = False
    _began_us: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, result: Result, picture: Picture) -> None:
        """Note how old the picture is now that its verdict is there."""
        judged_us = now_us()
        if self._began_us is None:
            self._began_us = judged_us
        watched_s = (judged_us - self._began_us) % TURN_US / 1e6
        self.controls.stop = watched_s > SETTLING_S + self.seconds
        if result.evidence is None:
            return
        self.taken, self.last_index = self.taken + 1, result.frame.index
        drawn_us = read_stamp(result.frame.image)
        if drawn_us is None:
            self.unreadable += 1
            return
        latencies = self.first_ms if watched_s < SETTLING_S else self.steady_ms
        latencies.append((judged_us - drawn_us) % TURN_US / 1e3)


def glass_to_verdict(size: Size, detector: Detector, seconds: float, fps: float = FPS) -> Row:
    """Watch a local stream and read the time back from each scored frame.

    Args:
        size: of the stream.
        detector: on an open backend, warm.
        seconds: to watch for.
        fps: of the stream.

    Raises:
        SourceError: the stream could not be opened or ended early.
        RuntimeError: the sender did not start.
    """
    controls = Controls()
    glass = Glass(controls, seconds)
    once = ReconnectPolicy(retries=0)
    with live_stream(size, fps) as address:
        source = open_source(address, retry=once)
        assert isinstance(source, LiveSource)
        calibration = detector.backend.manifest.calibration
        worker = SinkWorker(glass)
        camera = Camera(size.name, source, detector, VerdictSettings(), calibration, [worker])
        with LiveLoop([camera], controls=controls) as loop:
            loop.run(every_s=0.05)
    model_ms = camera.summary.latencies_ms.get("model", deque())
    return _row(size, fps, glass, list(model_ms))


def _row(size: Size, fps: float, glass: Glass, model_ms: Sequence[float]) -> Row:
    row: Row = {"part": "glass", "clip": size.name, "stream_fps": fps}
    if not glass.steady_ms:
        return row | {"missing": f"No picture of the stream came whole ({glass.taken} frames)."}
    latencies = glass.steady_ms
    return row | {
        "scored_frames": glass.taken,
        "skipped_frames": glass.last_index + 1 - glass.taken,
        "unreadable_frames": glass.unreadable,
        **{f"latency_{name}_ms": v for name, v in percentiles(latencies, (50, 90, 99)).items()},
        "latency_max_ms": max(latencies),
        "settling_max_ms": max(glass.first_ms, default=0.0),
        "model_p50_ms": median(model_ms),
        "samples_ms": [round(value, 3) for value in latencies],
    }
