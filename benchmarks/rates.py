"""Frames per second of a clip through the pipeline, of decoding alone and of the model alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.film import FPS, Size
from benchmarks.section import Row
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.pipeline import Pipeline, scored_evidence
from edge.sinks.base import Sink
from edge.sinks.recording import RecordingSink
from edge.sources import open_recording
from edge.types import Image, Picture, Result

DECODE, MODEL = "decode alone", "model alone"
BARE, OVERLAY, ENCODED = "no picture", "overlay", "overlay and encoding"
CANDIDATES = (DECODE, MODEL, BARE, OVERLAY, ENCODED)


class Dropped(Sink):
    """A sink that has the annotated picture drawn and does nothing with it."""

    name = "drop"
    wants_picture = True

    def write(self, result: Result, picture: Picture) -> None:
        """Take it and let it go."""
        picture()


@dataclass(slots=True, eq=False)
class Rate:
    """What one candidate did on one clip, for each round.

    Attributes:
        detector: the model; None for decoding alone.
        held: a few decoded frames, for the model alone.
        rounds_fps: frames per second.
        stages_ms: stage → milliseconds per frame; empty for the two alone.
    """

    clip: Path
    size: Size
    candidate: str
    detector: Detector | None
    held: Sequence[Image]
    frames: int
    rounds_fps: list[float] = field(default_factory=list)
    stages_ms: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> str:
        """One more round: wall time from before the clip is opened until all is closed."""
        start = time.perf_counter()
        if self.detector is None:
            decode(self.clip)
        elif self.candidate == MODEL:
            self._model_alone(self.detector)
        else:
            self._through_pipeline(self.detector, start)
        self.rounds_fps.append(self.frames / (time.perf_counter() - start))
        return f"{self.size.name}, {self.candidate}: {self.rounds_fps[-1]:.1f} fps"

    def _model_alone(self, detector: Detector) -> None:
        for index in range(self.frames):
            scored_evidence(detector, self.held[index % len(self.held)])

    def _through_pipeline(self, detector: Detector, start: float) -> None:
        encoded = RecordingSink(self.clip.with_name("encoded.mp4"), FPS)
        sinks: dict[str, list[Sink]] = {BARE: [], OVERLAY: [Dropped()], ENCODED: [encoded]}
        with open_recording(str(self.clip)) as source:
            opened = time.perf_counter()
            pipeline = Pipeline(source, detector, sinks[self.candidate], VerdictSettings())
            summary = pipeline.run()
        totals = {name: sum(values) for name, values in summary.latencies_ms.items()}
        totals["capture"] += (opened - start) * 1e3
        totals["rest"] = (time.perf_counter() - start) * 1e3 - sum(totals.values())
        self.stages_ms.append({name: total / self.frames for name, total in totals.items()})

    def row(self) -> Row:
        """For a result file: every round, and their medians."""
        stages = {k: median([s[k] for s in self.stages_ms]) for k in (self.stages_ms or [{}])[0]}
        return {
            "part": "rate",
            "clip": self.size.name,
            "candidate": self.candidate,
            **(names_of(self.detector) if self.detector else {}),
            "frames": self.frames,
            "rounds_fps": list(self.rounds_fps),
            "fps": median(self.rounds_fps),
            "stages_ms": stages,
        }


def decode(clip: Path, keep: int = 0) -> list[Image]:
    """Decode a clip and keep its first frames, each uint8 [H, W, 3] BGR."""
    with open_recording(str(clip)) as source:
        kept: list[Image] = []
        for frame in source:
            if frame is not None and len(kept) < keep:
                kept.append(frame.image)
        return kept


def names_of(detector: Detector) -> Row:
    """A detector's model and region, as rows have them."""
    return {"model": detector.backend.manifest.name, "region": str(detector.region)}
