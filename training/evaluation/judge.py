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
from typing import NamedTuple

from edge.errors import ModelError, RegionError, SourceError
from edge.schema import code_commit
from edge.sources.images import read_image
from edge.types import Image
from training.data.folders import LABEL_WORDS
from training.degrade import COLUMNS
from training.evaluation.material import Entry, Material
from training.evaluation.record import Item, Record, ScoredModel, SourceFacts, facts_of, now
from training.evaluation.scorers import Scorer
from training.faces.sampling import sampled
from training.loading_process import leave_signals_to_parent

_AHEAD = 2
"""Pictures that are prepared ahead per process; bounds the memory."""


@dataclass(slots=True)
class _Scores:
    """The logits of one model so far, [frame][degradation]; None where it gave no finite one."""

    scorer: Scorer
    frames: list[list[float | None]] = field(default_factory=list)
    failure: str | None = None

    def logit(self, image: Image) -> float | None:
        try:
            logit = self.scorer.logit(image)
            problem = f"a logit is {logit}."
        except RegionError as error:  # one picture that is too small must not cost the others
            logit, problem = math.nan, str(error)
        if math.isfinite(logit):
            return logit
        self.failure = self.failure or problem
        return None

    def model(self, columns: Sequence[str]) -> ScoredModel:
        if all(logit is None for frame in self.frames for logit in frame):
            name = self.scorer.facts.name
            raise ModelError(f"{name} gave no finite logit for any picture: {self.failure}")
        by_column = zip(*self.frames, strict=True)
        logits = {name: list(x) for name, x in zip(columns, by_column, strict=True)}
        return ScoredModel(**dict(self.scorer.facts), logits=logits, failure=self.failure)


def judge(
    scorers: Sequence[Scorer],
    material: Material,
    columns: tuple[str, ...],
    *,
    fps: float = 2.0,
    workers: int = 0,
    seed: int = 0,
    sources: Mapping[str, SourceFacts] | None = None,
    on_entry: Callable[[], None] = lambda: None,
) -> Record:
    """Score every picture and every sampled frame under each degradation with each model.

    A file that cannot be read to its end is left out whole; a picture that a model cannot take has
    no logit of that model.

    Args:
        scorers: open; at least one.
        material: from `open_material`.
        columns: names in `COLUMNS`.
        fps: frames per second taken from videos.
        workers: processes that prepare pictures; 0 for none.
        seed: of the intervals, for the record.
        sources: what is known of them, for the record.
        on_entry: called after each file.

    Raises:
        SourceError: nothing of a label of the material can be read.
        ModelError: a model gave no finite logit at all, or its runtime failed.
    """
    started = now()
    scores = [_Scores(scorer) for scorer in scorers]
    items: list[Item] = []
    rejected = [file.reason for file in material.rejected]
    stream = prepared(material.entries, columns, fps, workers)
    for index, parts in groupby(stream, key=lambda part: part.entry):
        frames, reasons = [], []
        for part in parts:
            if part.versions is None:
                reasons += [part.reason] if part.reason else []
            else:
                frames.append([[model.logit(image) for image in part.versions] for model in scores])
        if reasons:
            rejected.append(reasons[0])
        else:
            items.append(_item(material, index, len(frames)))
            for place, model in enumerate(scores):
                model.frames += [frame[place] for frame in frames]
        on_entry()
    _require_labels(material, items, rejected)
    return Record(
        time=started,
        commit=code_commit(),
        seed=seed,
        fps=fps if any(item.video for item in items) else None,
        columns=columns,
        data=tuple(str(path) for path in material.data),
        sources=facts_of(sources or {}, {item.source for item in items}),
        items=tuple(items),
        rejected=tuple(rejected),
        models=tuple(model.model(columns) for model in scores),
    )


def _item(material: Material, index: int, frames: int) -> Item:
    entry = material.entries[index]
    return Item(
        data=entry.data,
        path=entry.picture.path.relative_to(material.data[entry.data]).as_posix(),
        label=1 if entry.picture.label else 0,
        source=entry.picture.source,
        video=entry.video,
        frames=frames,
    )


def _require_labels(material: Material, items: Sequence[Item], rejected: Sequence[str]) -> None:
    labels = {entry.picture.label for entry in material.entries}
    for label in sorted(labels - {item.label for item in items}):
        first = f" The first of {len(rejected)} left out: {rejected[0]}" if rejected else ""
        raise SourceError(
            f"none of the {LABEL_WORDS[label]} can be read, so nothing can be judged.{first}"
        )


class Prepared(NamedTuple):
    """One picture or frame of the entry of this index under each degradation.

    `versions` is None at the file's end, where `reason` says what is wrong with it.
    """

    entry: int
    versions: tuple[Image, ...] | None
    reason: str | None = None


def prepared(
    entries: Sequence[Entry], columns: Sequence[str], fps: float, workers: int
) -> Iterator[Prepared]:
    """Yield the frames of each file in order, and after the last of a file one without versions.

    Raises:
        SourceError: a process died.
    """
    jobs = _jobs(entries, columns, fps)
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
    entries: Sequence[Entry], columns: Sequence[str], fps: float
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


def _prepare(entry: int, columns: Sequence[str], source: Path | Image) -> Prepared:
    try:
        image = read_image(source) if isinstance(source, Path) else source
    except SourceError as error:  # it was sound when it was found
        return Prepared(entry, None, str(error))
    return Prepared(entry, tuple(COLUMNS[name](image) for name in columns))
