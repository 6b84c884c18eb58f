"""The section: what is measured, in which order, within which time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.end_to_end.clips import FPS, FULL_HD, HD, Size, write_clip
from benchmarks.end_to_end.glass import glass_to_verdict
from benchmarks.end_to_end.names import CANDIDATES
from benchmarks.end_to_end.processes import ColdStart, peak_memory, processor_share
from benchmarks.end_to_end.rate import Clip, Rounds, Watcher, names_of, read_clip
from benchmarks.section import Plan, Row, Tick
from edge.backends import open_backend
from edge.detector import Detector
from edge.errors import PatchwatchError
from edge.pipeline import scored_evidence
from edge.regions import RegionSpec, parse_region
from edge.weights import DEFAULT, TINY, find_model

NATIVE = RegionSpec("native")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        sizes: of the clips, the largest last.
        frames: least and most of a clip.
        rounds: fewest and most rounds of the rates.
        wanted: rounds that clips are made for; the longer a clip, the less its opening weighs.
        rate_share: of the section's time that the rates may take.
        starts: rounds of the cold start.
        watched_s: length of what is watched at a fixed rate, and of each live stream.
        live: sizes of the live streams.
    """

    sizes: tuple[Size, ...] = (HD, FULL_HD)
    frames: tuple[int, int] = (60, 150)
    rounds: tuple[int, int] = (3, 9)
    wanted: int = 5
    rate_share: float = 0.7
    starts: int = 5
    watched_s: float = 6.0
    live: tuple[Size, ...] = (HD, FULL_HD)


QUICK = Effort(
    frames=(12, 30), rounds=(1, 2), wanted=1, rate_share=0.5, starts=1, watched_s=2.0, live=(HD,)
)


class EndToEndSection:
    """Frames per second, stage shares, glass to verdict, cold start, memory, processor share.

    All of a model at its own region; and the rates of the smallest model on whole frames of the
    largest clip, where what is not the model weighs most.

    Args:
        model: a shipped model's name or a model file.
        effort: how much; by default what the plan asks for.
    """

    name = "end_to_end"
    title = "End to end"

    def __init__(self, model: str = DEFAULT, effort: Effort | None = None) -> None:
        self._model = model
        self._effort = effort
        self._rounds: Rounds | None = None
        self._start: ColdStart | None = None
        self._others: list[Row] = []
        self._names: Row = {}

    def steps(self, plan: Plan) -> int:
        """An estimate: how many rounds fit is known only when they run."""
        effort = self._effort_of(plan)
        rates = effort.rounds[0] * (len(CANDIDATES) * (len(effort.sizes) + 1) - 1)
        return rates + effort.starts + len(effort.sizes) + len(effort.live) + 1

    def rows(self) -> list[Row]:
        """What has been measured so far."""
        rates = self._rounds.rows() if self._rounds else []
        starts = self._start.rows() if self._start else []
        return rates + [row | self._names for row in starts + self._others]

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Measure; the rates first, for they are what is wanted most.

        Raises:
            PatchwatchError: the model cannot be used, or a clip not made.
        """
        began = time.perf_counter()
        effort = self._effort_of(plan)
        self._rounds, self._start, self._others = None, None, []
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            detector = _opened(self._model, stack)
            tiny = Detector(_opened(TINY, stack).backend, NATIVE)
            self._names = names_of(detector)
            rate_s = effort.rate_share * plan.budget_s.get(self.name, 60.0)
            clips = _make_clips(effort, (detector, tiny), rate_s, folder, plan.seed)
            watchers = [Watcher(detector, clips), Watcher(tiny, clips[-1:])]
            self._rounds = Rounds(clips, watchers, folder)
            run_rounds(self._rounds.run, effort.rounds, began + rate_s, tick)
            self._measure_live(effort, detector, tick)
            self._measure_processes(effort, clips, folder, tick)

    def _effort_of(self, plan: Plan) -> Effort:
        return self._effort or (QUICK if plan.quick else Effort())

    def _measure_live(self, effort: Effort, detector: Detector, tick: Tick) -> None:
        for size in effort.live:

            def glass(size: Size = size) -> Row:
                return glass_to_verdict(size, detector, effort.watched_s)

            self._others.append(_or_missing("glass", size.name, glass))
            tick(f"{size.name}, glass to verdict")

    def _measure_processes(
        self, effort: Effort, clips: Sequence[Clip], folder: Path, tick: Tick
    ) -> None:
        watched = write_clip(folder / "watched.mp4", HD, round(effort.watched_s * FPS))
        self._start = ColdStart(self._model, watched, HD.name)
        for _ in range(effort.starts):
            try:
                tick(self._start.run())
            except PatchwatchError as error:
                self._others.append(_missing("start", HD.name, str(error)))
                break
        for clip in clips:

            def memory(clip: Clip = clip) -> Row:
                return peak_memory(self._model, clip.path, clip.size.name, min(clip.frames, 30))

            self._others.append(_or_missing("memory", clip.size.name, memory))
            tick(f"{clip.size.name}, peak memory")

        def share() -> Row:
            return processor_share(self._model, watched, HD.name)

        self._others.append(_or_missing("cpu", HD.name, share))
        tick("720p, processor share at 30 fps")


def run_rounds(
    run_round: Callable[[], Iterable[str]],
    fewest_most: tuple[int, int],
    deadline: float,
    tick: Tick,
) -> None:
    """Run rounds until the next would end after the deadline (of `time.perf_counter`)."""
    fewest, most = fewest_most
    for done in range(1, most + 1):
        began = time.perf_counter()
        for told in run_round():
            tick(told)
        now = time.perf_counter()
        if done >= fewest and now + (now - began) > deadline:
            return


def _opened(model: str, stack: ExitStack) -> Detector:
    backend = stack.enter_context(open_backend(find_model(model)))
    return Detector(backend, parse_region(backend.manifest.region))


def _make_clips(
    effort: Effort, detectors: tuple[Detector, Detector], rate_s: float, folder: Path, seed: int
) -> list[Clip]:
    """Clips of such a length that the wanted rounds fill the time.

    Args:
        effort: sizes and bounds.
        detectors: the one for every clip, and the one for the largest.
        rate_s: time for the rates.
        folder: for the files.
        seed: of their grain.
    """
    every, largest = detectors
    costs = [_inference_s(every, size) for size in effort.sizes]
    costs.append(_inference_s(largest, effort.sizes[-1]))
    frames = fit_frames(sum(costs), rate_s, effort)
    return [
        read_clip(write_clip(folder / f"{size.name}.mp4", size, frames, seed), size)
        for size in effort.sizes
    ]


def fit_frames(inference_s: float, rate_s: float, effort: Effort) -> int:
    """Frames of a clip with which the wanted rounds fill the time for the rates.

    Args:
        inference_s: of one frame of each clip by each model, together.
        rate_s: time for the rates.
        effort: the bounds.
    """
    # The model alone, three pipelines, and about as much as two more for decoding and encoding.
    round_s_per_frame = 6 * inference_s
    frames = round(rate_s / effort.wanted / round_s_per_frame)
    least, most = effort.frames
    return min(max(frames, least), most)


def _inference_s(detector: Detector, size: Size) -> float:
    """Of the quicker of two, for the first one at a size allocates."""
    black = np.zeros((size.height, size.width, 3), np.uint8)

    def once() -> float:
        began = time.perf_counter()
        scored_evidence(detector, black)
        return time.perf_counter() - began

    return min(once(), once())


def _or_missing(part: str, clip: str, measure: Callable[[], Row]) -> Row:
    try:
        return measure()
    except (PatchwatchError, RuntimeError) as error:
        return _missing(part, clip, str(error))


def _missing(part: str, clip: str, why: str) -> Row:
    return {"part": part, "clip": clip, "missing": why}
