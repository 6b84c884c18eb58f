"""Models on material: every model scores the same degraded pictures, prepared once."""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from multiprocessing import resource_tracker
from pathlib import Path

from edge.errors import ModelError, RegionError, SourceError
from edge.schema import code_commit
from edge.sources.images import read_image
from edge.types import Image
from training.data.folders import LABEL_WORDS
from training.degrade import COLUMNS
from training.evaluation.material import Entry, Material
from training.evaluation.record import Item, Record, ScoredModel, now
from training.evaluation.scorers import Scorer
from training.evaluation.sources import SourceFacts, facts_of
from training.faces.sampling import sampled
from training.loading_process import leave_signals_to_parent

Versions = Mapping[str, Image]
"""Degradation → the picture after it, uint8 [H, W, 3] BGR."""

_AHEAD = 2
"""Pictures that are prepared ahead per process; bounds the memory."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """Names in `COLUMNS`, frames per second taken from videos, processes that prepare pictures (0
    for none of their own), and the seed of the intervals, for the record.
    """

    columns: tuple[str, ...]
    fps: float = 2.0
    workers: int = 0
    seed: int = 0


@dataclass(slots=True)
class _Scores:
    """The logits of one model so far, by frame and degradation; NaN for none."""

    scorer: Scorer
    frames: list[dict[str, float]] = field(default_factory=list)
    failure: str | None = None

    def add(self, versions: Versions) -> None:
        self.frames.append({name: self._logit(image) for name, image in versions.items()})

    def _logit(self, image: Image) -> float:
        try:
            logit = self.scorer.logit(image)
            problem = f"a logit is {logit}."
        except RegionError as error:  # one picture that is too small must not cost the others
            logit, problem = math.nan, str(error)
        if not math.isfinite(logit):
            self.failure = self.failure or problem
            return math.nan
        return logit

    def model(self, columns: Sequence[str]) -> ScoredModel:
        if not any(math.isfinite(x) for frame in self.frames for x in frame.values()):
            name = self.scorer.facts.name
            raise ModelError(f"{name} gave no finite logit for any picture: {self.failure}")
        logits: dict[str, list[float | None]] = {
            name: [x if math.isfinite(x := f[name]) else None for f in self.frames]
            for name in columns
        }
        return ScoredModel(**dict(self.scorer.facts), logits=logits, failure=self.failure)


def judge(
    scorers: Sequence[Scorer],
    material: Material,
    options: JudgeOptions,
    on_entry: Callable[[], None] = lambda: None,
    sources: Mapping[str, SourceFacts] | None = None,
) -> Record:
    """Score every picture and every sampled frame under each degradation with each model.

    A file that cannot be read to its end is left out whole; a picture that a model cannot take has
    no logit of that model.

    Args:
        scorers: open; at least one.
        material: from `open_material`.
        options: columns, rate, processes.
        on_entry: called after each file.
        sources: what is known of them, for the record.

    Raises:
        SourceError: nothing of a label of the material can be read.
        ModelError: a model gave no finite logit at all, or its runtime failed.
    """
    started = now()
    scores = [_Scores(scorer) for scorer in scorers]
    items: list[Item] = []
    rejected = [file.reason for file in material.rejected]
    stream = prepared(material.entries, options.columns, options.fps, options.workers)
    for index, group in groupby(stream, key=lambda part: part.entry):
        frames, reason = 0, None
        for part in group:
            reason = reason or part.reason
            if part.versions is not None:
                frames += 1
                for model in scores:
                    model.add(part.versions)
        entry = material.entries[index]
        if reason is None:
            items.append(
                Item(
                    data=entry.data,
                    path=entry.picture.path.relative_to(material.data[entry.data]).as_posix(),
                    label=1 if entry.picture.label else 0,
                    source=entry.picture.source,
                    video=entry.video,
                    frames=frames,
                )
            )
        else:
            rejected.append(reason)
            for model in scores:
                del model.frames[len(model.frames) - frames :]
        on_entry()
    for label in sorted({entry.picture.label for entry in material.entries}):
        if not any(item.label == label for item in items):
            first = f" The first of {len(rejected)} left out: {rejected[0]}" if rejected else ""
            raise SourceError(
                f"none of the {LABEL_WORDS[label]} can be read, so nothing can be judged.{first}"
            )
    return Record(
        time=started,
        commit=code_commit(),
        seed=options.seed,
        fps=options.fps if any(item.video for item in items) else None,
        columns=options.columns,
        data=tuple(str(path) for path in material.data),
        sources=facts_of(dict(sources or {}), {item.source for item in items}),
        items=tuple(items),
        rejected=tuple(rejected),
        models=tuple(model.model(options.columns) for model in scores),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One picture or frame under each degradation, or why its whole file is left out.

    `entry` is the file's index; `versions` is None at its end, where `reason` says what is wrong.
    """

    entry: int
    versions: Versions | None
    reason: str | None = None


def prepared(
    entries: Sequence[Entry], columns: Sequence[str], fps: float, workers: int
) -> Iterator[Prepared]:
    """Yield the frames of each file in order, and after the last of a file one without versions.

    Raises:
        SourceError: a process died.
    """
    jobs = _jobs(entries, tuple(columns), fps)
    if not workers:
        yield from (job() for job in jobs)
        return
    # Not forked: the threads of the runtimes do not survive a fork. And the tracker first, for its
    # own start would let signals through in the midst of that of a process.
    resource_tracker.ensure_running()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, leave_signals_to_parent, (0,))
    waiting: deque[Future[Prepared]] = deque()
    try:
        for job in jobs:
            # A process that is started while Ctrl-C is blocked never gets it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                waiting.append(pool.submit(job))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise SourceError(
            "a process that prepares pictures died, perhaps for want of memory. Use fewer "
            "--workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _jobs(
    entries: Sequence[Entry], columns: tuple[str, ...], fps: float
) -> Iterator[Callable[[], Prepared]]:
    for index, entry in enumerate(entries):
        reason = None
        if not entry.video:
            yield partial(_prepare, index, columns, entry.picture.path)
        else:
            try:
                for frame in sampled(entry.picture.path, fps):
                    yield partial(_prepare, index, columns, frame.image)
            except SourceError as error:
                reason = str(error)
        yield partial(Prepared, index, None, reason)


def _prepare(entry: int, columns: tuple[str, ...], source: Path | Image) -> Prepared:
    try:
        image = read_image(source) if isinstance(source, Path) else source
    except SourceError as error:  # it was sound when it was found
        return Prepared(entry, None, str(error))
    return Prepared(entry, {name: COLUMNS[name](image) for name in columns})
