"""Frames per second of the pipeline, of decoding alone and of the model alone, in the same rounds.

A round measures every candidate once on every clip. Each figure is wall time from before the clip
is opened until everything is closed, so that nothing falls between two stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from benchmarks.end_to_end.clips import FPS, Size
from benchmarks.end_to_end.names import (
    BARE,
    DECODE_ALONE,
    ENCODED,
    MODEL_ALONE,
    OVERLAY,
    VARIANTS,
)
from benchmarks.section import Row
from benchmarks.stats import median
from edge.decision.verdict import VerdictSettings
from edge.detector import Detector
from edge.pipeline import Pipeline, scored_evidence
from edge.sinks.base import Sink
from edge.sinks.recording import RecordingSink
from edge.sources import open_recording
from edge.types import Batch, Picture, Result

HELD_FRAMES = 24
"""Frames of a clip kept decoded for the model alone, spread over it and given in turn; all of a
clip at 1080p would take half a gigabyte."""


class Dropped:
    """A sink that has the annotated picture drawn and does nothing with it."""

    name = "drop"
    wants_picture = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, result: Result, picture: Picture) -> None:
        """Take it and let it go."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip on disk and some of its frames in memory.

    Attributes:
        path: H.264.
        size: of its frames.
        frames: how many it has.
        held: every so many of them, each uint8 [1, H, W, 3] BGR.
        mbit_per_s: its bit rate, in 10⁶ bit per second.
    """

    path: Path
    size: Size
    frames: int
    held: Sequence[Batch]
    mbit_per_s: float


def read_clip(path: Path, size: Size) -> Clip:
    """Decode a clip once, counting its frames and keeping some.

    Raises:
        SourceError: it cannot be decoded.
    """
    with open_recording(str(path)) as source:
        count = sum(frame is not None for frame in source)
    wanted = set(np.linspace(0, count - 1, min(HELD_FRAMES, count)).round().astype(int).tolist())
    with open_recording(str(path)) as source:
        held = [f.image[None] for f in source if f is not None and f.index in wanted]
    mbit_per_s = path.stat().st_size * 8 / 1e6 / (count / FPS)
    return Clip(path, size, count, held, mbit_per_s)


@dataclass(frozen=True, slots=True, eq=False)
class Watcher:
    """A model as it is measured.

    Attributes:
        detector: on an open backend; every core unless it was opened otherwise.
        clips: what it is run on.
    """

    detector: Detector
    clips: Sequence[Clip]

    @property
    def names(self) -> Row:
        """Its model and region, as rows have them."""
        return names_of(self.detector)


def names_of(detector: Detector) -> Row:
    """A detector's model and region, as rows have them."""
    return {"model": detector.backend.manifest.name, "region": str(detector.region)}


@dataclass(slots=True)
class Rate:
    """What one candidate did on one clip.

    Attributes:
        clip: what it ran on.
        watcher: the model; None for decoding alone.
        candidate: one of `CANDIDATES`.
        rounds_fps: frames per second in each round.
        rounds_stages_ms: stage → milliseconds per frame, for each round; empty for the two alone.
    """

    clip: Clip
    watcher: Watcher | None
    candidate: str
    rounds_fps: list[float] = field(default_factory=list)
    rounds_stages_ms: list[dict[str, float]] = field(default_factory=list)

    def row(self) -> Row:
        """For a result file: every round, and their medians."""
        stages = self.rounds_stages_ms
        means = {name: _mean([s[name] for s in stages]) for name in stages[0]} if stages else {}
        return {
            "part": "rate",
            "clip": self.clip.size.name,
            "candidate": self.candidate,
            **(self.watcher.names if self.watcher else {}),
            "height_px": self.clip.size.height,
            "width_px": self.clip.size.width,
            "frames": self.clip.frames,
            "clip_mbit_per_s": self.clip.mbit_per_s,
            "rounds_fps": list(self.rounds_fps),
            "fps": median(self.rounds_fps),
            "frame_ms": _mean([1e3 / fps for fps in self.rounds_fps]),
            "stages_ms": means,
        }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rates(clips: Sequence[Clip], watchers: Sequence[Watcher]) -> Iterator[Rate]:
    for clip in clips:
        yield Rate(clip, None, DECODE_ALONE)
        for watcher in watchers:
            if clip in watcher.clips:
                yield from (Rate(clip, watcher, name) for name in (MODEL_ALONE, *VARIANTS))


class Rounds:
    """Measures decoding alone and every model on its clips, in turn.

    Args:
        clips: to be measured on.
        watchers: the models.
        folder: for the encoded videos.
        clock: seconds.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        watchers: Sequence[Watcher],
        folder: Path,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._encoded = folder / "encoded.mp4"
        self._clock = clock
        self._rates = list(_rates(clips, watchers))
        self._rounds = 0

    def run(self) -> Iterator[str]:
        """One more round; yields what was measured after each candidate."""
        # Another one begins each round, so that none always follows the same one.
        start = self._rounds % len(self._rates)
        self._rounds += 1
        for rate in self._rates[start:] + self._rates[:start]:
            fps = self._measure(rate)
            rate.rounds_fps.append(fps)
            model = f" ({rate.watcher.names['model']})" if rate.watcher else ""
            yield f"{rate.clip.size.name}, {rate.candidate}{model}: {fps:.1f} fps"

    def rows(self) -> list[Row]:
        """What was measured so far."""
        return [rate.row() for rate in self._rates if rate.rounds_fps]

    def _measure(self, rate: Rate) -> float:
        if rate.watcher is None:
            elapsed_s = decode_alone(rate.clip, self._clock)
        elif rate.candidate == MODEL_ALONE:
            elapsed_s = model_alone(rate.clip, rate.watcher.detector, self._clock)
        else:
            elapsed_s, stages = self._pipeline(rate, rate.watcher.detector)
            rate.rounds_stages_ms.append(stages)
        return rate.clip.frames / elapsed_s

    def _pipeline(self, rate: Rate, detector: Detector) -> tuple[float, dict[str, float]]:
        sinks: dict[str, list[Sink]] = {
            BARE: [],
            OVERLAY: [Dropped()],
            ENCODED: [RecordingSink(self._encoded, FPS)],
        }
        return through_pipeline(rate.clip, detector, sinks[rate.candidate], self._clock)


def decode_alone(clip: Clip, clock: Callable[[], float]) -> float:
    """Seconds to open a clip, take every frame from the source as it comes, and close it."""
    start = clock()
    with open_recording(str(clip.path)) as source:
        for _ in source:
            pass
    return clock() - start


def model_alone(clip: Clip, detector: Detector, clock: Callable[[], float]) -> float:
    """Seconds for as many inferences as a clip has frames, on its frames, already decoded."""
    start = clock()
    for index in range(clip.frames):
        scored_evidence(detector, clip.held[index % len(clip.held)][0])
    return clock() - start


def through_pipeline(
    clip: Clip, detector: Detector, sinks: Sequence[Sink], clock: Callable[[], float]
) -> tuple[float, dict[str, float]]:
    """A clip through the pipeline.

    Returns:
        Seconds from before it was opened until all was closed, and milliseconds per frame of each
        stage. Opening counts as `capture`; `rest` is what no stage has: the loop, and finishing
        the sinks.
    """
    start = clock()
    with open_recording(str(clip.path)) as source:
        opened = clock()
        summary = Pipeline(source, detector, sinks, VerdictSettings()).run()
    elapsed_s = clock() - start
    totals = {name: sum(values) for name, values in summary.latencies_ms.items()}
    totals["capture"] += (opened - start) * 1e3
    totals["rest"] = elapsed_s * 1e3 - sum(totals.values())
    return elapsed_s, {name: total / clip.frames for name, total in totals.items()}
