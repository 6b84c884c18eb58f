"""Models on material: every model sees the same degraded pictures, prepared once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from edge.errors import ModelError, RegionError, SourceError
from edge.schema import code_commit
from training.data.folders import LABEL_WORDS
from training.evaluation.degraded import Versions, prepared
from training.evaluation.material import Material
from training.evaluation.record import Item, Judged, Record, now
from training.evaluation.scorers import Scorer

Frame = dict[str, float]
"""Degradation → logit, NaN for none."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How models are judged.

    Attributes:
        columns: names in `COLUMNS`.
        fps: frames per second taken from videos.
        workers: processes that prepare pictures; 0 for none of their own.
        seed: of the intervals, for the record.
    """

    columns: tuple[str, ...]
    fps: float = 2.0
    workers: int = 0
    seed: int = 0


@dataclass(slots=True)
class _Column:
    """What one model said so far."""

    scorer: Scorer
    frames: list[Frame] = field(default_factory=list)
    failure: str | None = None

    def add(self, versions: Versions) -> None:
        self.frames.append({name: self._logit(name, versions) for name in versions})

    def _logit(self, column: str, versions: Versions) -> float:
        try:
            logit = self.scorer(versions[column])
        except RegionError as error:  # one picture that is too small must not cost the others
            return self._failed(str(error))
        return logit if math.isfinite(logit) else self._failed(f"a logit is {logit}.")

    def _failed(self, reason: str) -> float:
        self.failure = self.failure or reason
        return math.nan

    def judged(self, columns: Sequence[str]) -> Judged:
        logits = {name: [_or_none(frame[name]) for frame in self.frames] for name in columns}
        return Judged(**dict(self.scorer.facts), logits=logits, failure=self.failure)


def judge(
    scorers: Sequence[Scorer],
    material: Material,
    options: JudgeOptions,
    on_entry: Callable[[], None] = lambda: None,
) -> Record:
    """Score every picture and every sampled frame under each degradation with each model.

    A file that cannot be read to its end is left out whole; a picture that a model cannot take has
    no logit of that model.

    Args:
        scorers: open; at least one.
        material: from `open_material`.
        options: columns, rate, processes.
        on_entry: called after each file.

    Raises:
        SourceError: nothing of a label of the material can be read.
        ModelError: a model gave no finite logit at all, or its runtime failed.
    """
    begun = now()
    columns = [_Column(scorer) for scorer in scorers]
    items: list[Item] = []
    rejected = list(material.rejected)
    for index, frames, reason in _files(columns, material, options):
        if reason is None:
            items.append(_item(material, index, frames))
        else:
            rejected.append(reason)
        on_entry()
    _require_every_label(material, items, rejected)
    for column in columns:
        _require_a_logit(column)
    return Record(
        time=begun,
        commit=code_commit(),
        seed=options.seed,
        fps=options.fps if any(item.video for item in items) else None,
        columns=options.columns,
        data=tuple(str(path) for path in material.data),
        items=tuple(items),
        rejected=tuple(rejected),
        models=tuple(column.judged(options.columns) for column in columns),
    )


def _files(
    columns: Sequence[_Column], material: Material, options: JudgeOptions
) -> Iterator[tuple[int, int, str | None]]:
    """Per file its index, its number of frames, and why it is left out."""
    stream = prepared(material.entries, options.columns, options.fps, options.workers)
    for index, group in groupby(stream, key=lambda part: part.entry):
        frames, reason = 0, None
        for part in group:
            if part.versions is None:
                reason = reason or part.reason
                continue
            frames += 1
            for column in columns:
                column.add(part.versions)
        if reason is not None:
            for column in columns:
                del column.frames[len(column.frames) - frames :]
        yield index, frames, reason


def _item(material: Material, index: int, frames: int) -> Item:
    entry = material.entries[index]
    picture = entry.picture
    return Item(
        data=entry.data,
        path=picture.path.relative_to(material.data[entry.data]).as_posix(),
        label=1 if picture.label else 0,
        source=picture.source,
        video=entry.video,
        frames=frames,
    )


def _require_every_label(
    material: Material, items: Sequence[Item], rejected: Sequence[str]
) -> None:
    for label in sorted({entry.picture.label for entry in material.entries}):
        if not any(item.label == label for item in items):
            word = LABEL_WORDS[label]
            first = f" The first of {len(rejected)} left out: {rejected[0]}" if rejected else ""
            raise SourceError(f"none of the {word} can be read, so nothing can be judged.{first}")


def _require_a_logit(column: _Column) -> None:
    if not any(math.isfinite(x) for frame in column.frames for x in frame.values()):
        raise ModelError(
            f"{column.scorer.name} gave no finite logit for any picture: {column.failure}"
        )


def _or_none(logit: float) -> float | None:
    return logit if math.isfinite(logit) else None
