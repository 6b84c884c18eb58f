"""Models on material: every model scores the same degraded pictures, prepared once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from edge.errors import ModelError, RegionError, SourceError
from edge.labels import LABEL_WORDS
from edge.schema import code_commit
from edge.sources.images import read_image
from edge.terminal import console
from edge.types import Image
from training.data.samples import loader
from training.degrade import COLUMNS
from training.evaluation.material import Entry, Material
from training.evaluation.record import Item, Record, ScoredModel, SourceFacts, facts_of, now
from training.evaluation.scorers import Scorer
from training.faces.sampling import sampled
from training.progress import advancing, print_rejected

Versions = list[Image]
"""One picture or frame under each degradation."""


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
) -> Record:
    """Score every picture and every sampled frame under each degradation with each model.

    A file that cannot be read to its end is left out whole, and named; a picture that a model
    cannot take has no logit of that model.

    Args:
        scorers: open; at least one.
        material: from `open_material`.
        columns: names in `COLUMNS`.
        fps: frames per second taken from videos.
        workers: processes that prepare pictures; 0 for none.
        seed: of the intervals; for the record, as `sources`, what is known of them.

    Raises:
        SourceError: nothing of a label of the material can be read.
        ModelError: a model gave no finite logit at all, or its runtime failed.
    """
    started = now()
    scores = [_Scores(scorer) for scorer in scorers]
    items: list[Item] = []
    broken: list[str] = []
    with advancing("scoring", len(material.entries)) as advance:
        for entry, versions in _files(material.entries, columns, fps, workers):
            try:
                frames = [
                    [[model.logit(image) for image in images] for model in scores]
                    for images in versions
                ]
                items.append(_item(material, entry, len(frames)))
                for place, model in enumerate(scores):
                    model.frames += [frame[place] for frame in frames]
            except SourceError as error:
                broken.append(str(error))
            advance()
    print_rejected(console(), broken)
    rejected = (*material.rejected, *broken)
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
        rejected=rejected,
        models=tuple(model.model(columns) for model in scores),
    )


class _Pictures(Dataset[Any]):
    def __init__(self, paths: Sequence[Path], columns: Sequence[str]) -> None:
        self._paths, self._columns = paths, columns

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Versions | str:
        try:
            image = read_image(self._paths[index])
        except SourceError as error:  # it was sound when it was found
            return str(error)
        return [COLUMNS[name](image) for name in self._columns]


def _files(
    entries: Sequence[Entry], columns: Sequence[str], fps: float, workers: int
) -> Iterator[tuple[Entry, Iterator[Versions]]]:
    """Each file, pictures first, with its frames; a SourceError from these where it breaks off."""
    pictures = [entry for entry in entries if not entry.video]
    prepared = _Pictures([entry.picture.path for entry in pictures], columns)
    try:
        for entry, found in zip(pictures, loader(prepared, workers, batch_size=None), strict=True):
            yield entry, _given(found)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ModelError(
            "a process that prepares pictures died, perhaps for want of memory. Use fewer "
            "--workers."
        ) from error
    for entry in entries:
        if entry.video:
            frames = sampled(entry.picture.path, fps)
            yield entry, ([COLUMNS[name](frame.image) for name in columns] for frame in frames)


def _given(found: Versions | str) -> Iterator[Versions]:
    if isinstance(found, str):
        raise SourceError(found)
    yield found


def _item(material: Material, entry: Entry, frames: int) -> Item:
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
