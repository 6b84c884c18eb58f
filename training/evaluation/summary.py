"""From logits to figures: the compact form of an evaluation, fit to be committed.

It holds no picture, path or logit: counts, figures per source with intervals, and where they come
from. All tables are made from it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from edge.errors import UsageError
from training.evaluation.bootstrap import (
    DRAWS,
    MEAN,
    Estimate,
    Resampled,
    alarm_flags,
    difference,
    resample,
    share_estimate,
)
from training.evaluation.measured import Evaluation
from training.evaluation.metrics import METRICS
from training.evaluation.record import Judged, ModelFacts, Part, Record, read_record

Figures = dict[str, Estimate | None]
"""Measure → value with the ends of its 95 % interval; null where it is not defined."""


class Source(Part):
    """One camera or generator."""

    label: Literal[0, 1]
    name: str
    count: int = Field(ge=1, description="Pictures and videos.")
    videos: int = Field(default=0, ge=0)


class ColumnFigures(Part):
    """One model under one degradation."""

    mean: Figures = Field(description="Mean over generators; the interval resamples them too.")
    generators: dict[str, Figures] = Field(description="Each against all photographs.")
    false_alarms: Estimate | None = Field(description="Share of all photographs, by source.")
    photographs: dict[str, Estimate | None] = Field(description="Source → share of false alarms.")
    frame_auc: float | None = Field(
        default=None, description="Mean AUC per generator, each frame of a video judged alone."
    )
    without_logit: int = Field(ge=0, description="Pictures that the model gave no finite logit.")


class ModelFigures(ModelFacts):
    """One model under every degradation."""

    columns: dict[str, ColumnFigures]
    failure: str | None = None


class Comparison(Part):
    """Mean AUC of A minus that of B on the pictures that both judged."""

    a: str
    b: str
    column: str
    difference: Estimate | None
    p: float | None = Field(description="Two-sided.")


class Summary(Part):
    """The figures of an evaluation."""

    schema_number: Literal[1] = Field(default=1, alias="schema")
    theme: Literal["quality"] = "quality"
    time: str
    commit: str | None
    seed: int
    draws: int = Field(gt=0, description="Resamples behind each interval.")
    fps: float | None
    columns: tuple[str, ...]
    sources: tuple[Source, ...]
    left_out: int = Field(ge=0, description="Files that could not be read.")
    models: tuple[ModelFigures, ...]
    comparisons: tuple[Comparison, ...]

    def names(self, label: int) -> list[str]:
        """Sources of a label."""
        return [source.name for source in self.sources if source.label == label]

    def count(self, label: int, name: str | None = None) -> int:
        """Pictures and videos of a label, or of one of its sources."""
        of_label = [s for s in self.sources if s.label == label]
        return sum(s.count for s in of_label if name is None or s.name == name)


def summarise(
    record: Record, draws: int = DRAWS, on_step: Callable[[], None] = lambda: None
) -> Summary:
    """Every figure of a record; the same record gives the same figures.

    Args:
        record: what was measured.
        draws: resamples behind each interval.
        on_step: called `steps(record)` times.
    """
    return Summary(
        time=record.time,
        commit=record.commit,
        seed=record.seed,
        draws=draws,
        fps=record.fps,
        columns=record.columns,
        sources=tuple(_sources(record)),
        left_out=len(record.rejected),
        models=tuple(_model(record, model, draws, on_step) for model in record.models),
        comparisons=tuple(_comparisons(record, draws, on_step)),
    )


def steps(record: Record) -> int:
    """How many pieces `summarise` works through."""
    models = len(record.models)
    return len(record.columns) * (models + models * (models - 1) // 2)


def read_summary(path: Path) -> tuple[Summary, Record | None]:
    """Read the figures of either form of file, with the logits where it holds them.

    Raises:
        UsageError: absent, neither form, or broken.
    """
    if _theme(path) != "quality":
        record = read_record(path)
        return summarise(record), record
    try:
        return Summary.model_validate_json(path.read_bytes()), None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(f"{path}: a broken file of figures; {key}: {first['msg']}.") from error


def write_summary(summary: Summary) -> str:
    """The compact file's text."""
    return summary.model_dump_json(by_alias=True, indent=1) + "\n"


def _theme(path: Path) -> object:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):  # told by who reads it as an evaluation
        return None
    return data.get("theme") if isinstance(data, dict) else None


def _sources(record: Record) -> Iterator[Source]:
    counts = Counter((item.label, item.source) for item in record.items)
    videos = Counter((item.label, item.source) for item in record.items if item.video)
    for (label, name), count in sorted(counts.items()):
        yield Source(label=label, name=name, count=count, videos=videos[label, name])


def _model(record: Record, model: Judged, draws: int, on_step: Callable[[], None]) -> ModelFigures:
    evaluation = record.evaluation(model)
    frames = record.frame_evaluation(model) if record.has_videos() else None
    columns = {}
    for name in record.columns:
        columns[name] = _column(evaluation, frames, model, name, record.seed, draws)
        on_step()
    facts = {key: getattr(model, key) for key in ModelFacts.model_fields}
    return ModelFigures(**facts, columns=columns, failure=model.failure)


def _column(
    evaluation: Evaluation,
    frames: Evaluation | None,
    model: Judged,
    name: str,
    seed: int,
    draws: int,
) -> ColumnFigures:
    usable = _usable(evaluation, name)
    flags = alarm_flags(usable, name, model.calibration)
    alone = {source: share_estimate({source: found}, seed) for source, found in flags.items()}
    resampled = _resampled(usable, name, model, seed, draws)
    generators = evaluation.source_names(1)
    return ColumnFigures(
        mean=_figures(resampled, MEAN),
        generators={g: _figures(resampled, g) for g in generators},
        false_alarms=_rounded(share_estimate(flags, seed)),
        photographs={s: _rounded(alone.get(s)) for s in evaluation.source_names(0)},
        frame_auc=None if frames is None else _frame_auc(frames, name),
        without_logit=len(evaluation.pictures) - len(usable.pictures),
    )


def _comparisons(record: Record, draws: int, on_step: Callable[[], None]) -> Iterator[Comparison]:
    for a, b in combinations(record.models, 2):
        for name in record.columns:
            yield _comparison(record, a, b, name, draws)
            on_step()


def _comparison(record: Record, a: Judged, b: Judged, name: str, draws: int) -> Comparison:
    first, second = record.evaluation(a), record.evaluation(b)
    both = np.isfinite(first.logits[name]) & np.isfinite(second.logits[name])
    pair = [
        _resampled(evaluation.where(both), name, model, record.seed, draws)
        for evaluation, model in ((first, a), (second, b))
    ]
    found = difference(pair[0], pair[1]) if pair[0] and pair[1] else None
    return Comparison(
        a=a.name,
        b=b.name,
        column=name,
        difference=_rounded(found.estimate) if found else None,
        p=round(found.p, 4) if found else None,
    )


def _usable(evaluation: Evaluation, column: str) -> Evaluation:
    return evaluation.where(np.isfinite(evaluation.logits[column]))


def _resampled(
    evaluation: Evaluation, column: str, model: Judged, seed: int, draws: int
) -> Resampled | None:
    if not evaluation.source_names(0) or not evaluation.source_names(1):
        return None
    return resample(evaluation, column, model.calibration, seed, draws)


def _figures(resampled: Resampled | None, row: str) -> Figures:
    if resampled is None or row not in resampled.values:
        return dict.fromkeys(METRICS)
    return {metric: _rounded(resampled.estimate(row, metric)) for metric in METRICS}


def _frame_auc(frames: Evaluation, column: str) -> float | None:
    value = _usable(frames, column).mean_auc([column])
    return round(value, 4) if math.isfinite(value) else None


def _rounded(estimate: Estimate | None) -> Estimate | None:
    if estimate is None:
        return None
    value, low, high = (round(x, 4) for x in estimate)
    return (value, low, high)
