"""From logits to figures: the compact form of an evaluation, fit to be committed.

It holds no picture, path or logit: counts, figures per source with intervals, and where they come
from. All tables are made from it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from edge.manifest import Calibration
from edge.schema import Strict
from training.evaluation.metrics import (
    AUC,
    DRAWS,
    MEAN,
    METRICS,
    Estimate,
    Flags,
    Resampled,
    called,
    clustered,
    difference,
    resample,
    share_estimate,
    uncertain,
)
from training.evaluation.record import (
    FILE,
    Evaluation,
    Logits,
    ModelFacts,
    Record,
    ScoredModel,
    parsed,
)

Figures = dict[str, Estimate | None]
"""Measure → value with the ends of its 95 % interval; null where it is not defined."""


class Source(Strict):
    """One camera or generator."""

    label: Literal[0, 1]
    name: str
    count: int = Field(ge=1, description="Pictures and videos.")
    videos: int = Field(default=0, ge=0)
    group: str = Field(default="", description="As --sources has it.")
    year: int | None = Field(default=None, description="Of the generator, likewise.")


class ColumnFigures(Strict):
    """One model under one degradation."""

    mean: Figures = Field(description="Mean over generators; the interval resamples them too.")
    generators: dict[str, Figures] = Field(description="Each against all photographs.")
    false_alarms: Estimate | None = Field(description="Share of all photographs, by source.")
    photographs: dict[str, Estimate | None] = Field(description="Source → share of false alarms.")
    groups: dict[str, Estimate | None] = Field(
        default={}, description="Group of photographs → share of false alarms."
    )
    uncertain: dict[str, Estimate | None] = Field(
        default={}, description="photographs, generated → share whose verdict is uncertain."
    )
    matched: dict[str, Estimate | None] = Field(
        default={}, description="Generator → AUC against the source that it is matched with."
    )
    years: dict[str, float | None] = Field(
        default={}, description="Year → mean AUC of its generators against all photographs."
    )
    frame_auc: float | None = Field(
        default=None, description="Mean AUC per generator, each frame of a video judged alone."
    )
    without_logit: int = Field(ge=0, description="Pictures that the model gave no finite logit.")


class ModelFigures(ModelFacts):
    """One model under every degradation."""

    columns: dict[str, ColumnFigures]
    failure: str | None = None


class Comparison(Strict):
    """Mean AUC of A minus that of B on the pictures that both judged."""

    a: str
    b: str
    column: str
    difference: Estimate | None
    p: float | None = Field(description="Two-sided.")


class Summary(Strict):
    """The figures of an evaluation."""

    schema_number: Literal[1, 2] = Field(default=2, alias="schema")
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


def summarise(record: Record, draws: int = DRAWS) -> Summary:
    """Every figure of a record, with intervals of so many draws; always the same for the same."""
    resampled: dict[tuple[str, str], Resampled | None] = {}
    models = []
    for model in record.models:
        evaluation, columns = record.evaluation(model), {}
        for column in record.columns:
            found = _resampled(evaluation.finite(column), column, model, record.seed, draws)
            columns[column] = _column(record, model, evaluation, column, found)
            resampled[model.name, column] = found
        facts = {key: getattr(model, key) for key in ModelFacts.model_fields}
        models.append(ModelFigures(**facts, columns=columns, failure=model.failure))
    return Summary(
        time=record.time,
        commit=record.commit,
        seed=record.seed,
        draws=draws,
        fps=record.fps,
        columns=record.columns,
        sources=tuple(_sources(record)),
        left_out=len(record.rejected),
        models=tuple(models),
        comparisons=tuple(_comparisons(record, draws, resampled)),
    )


def read_summary(path: Path) -> tuple[Summary, Record | None]:
    """Read the figures of either form of file, with the logits where it holds them.

    Raises:
        UsageError: absent, neither form, or broken.
    """
    either = TypeAdapter[Record | Summary](
        Annotated[Record | Summary, Field(discriminator="theme")]
    )
    expected = f"an {FILE} of 'patchwatch evaluate' with schema 1 or 2, or its compact form"
    found = parsed(either, path, expected)
    return (found, None) if isinstance(found, Summary) else (summarise(found), found)


def write_summary(summary: Summary) -> str:
    """The compact file's text."""
    return summary.model_dump_json(by_alias=True, indent=1) + "\n"


def _sources(record: Record) -> Iterator[Source]:
    counts = Counter((item.label, item.source) for item in record.items)
    videos = Counter((item.label, item.source) for item in record.items if item.video)
    for (label, name), count in sorted(counts.items()):
        facts = record.sources.get(name)
        yield Source(
            label=label,
            name=name,
            count=count,
            videos=videos[label, name],
            group=facts.group if facts else "",
            year=facts.year if facts and label else None,
        )


def _column(
    record: Record,
    model: ScoredModel,
    evaluation: Evaluation,
    column: str,
    resampled: Resampled | None,
) -> ColumnFigures:
    def share(flags: Mapping[str, Flags]) -> Estimate | None:
        return _rounded(share_estimate(flags, record.seed))

    usable = evaluation.finite(column)
    sides = [usable.by_source(column, label) for label in (0, 1)]
    alarms = {name: called(x, model.calibration) for name, x in sides[0].items()}
    unsure = [{n: uncertain(x, model.calibration) for n, x in side.items()} for side in sides]
    generators = {g: _figures(resampled, g) for g in evaluation.source_names(1)}
    groups: dict[str, dict[str, Flags]] = {}
    for name in sorted(alarms.keys() & record.sources.keys()):
        groups.setdefault(record.sources[name].group, {})[name] = alarms[name]
    return ColumnFigures(
        mean=_figures(resampled, MEAN),
        generators=generators,
        false_alarms=share(alarms),
        photographs={
            name: share({name: alarms[name]}) if name in alarms else None
            for name in evaluation.source_names(0)
        },
        groups={group: share(flags) for group, flags in sorted(groups.items())},
        uncertain={"photographs": share(unsure[0]), "generated": share(unsure[1])},
        matched={
            fake: _rounded(clustered((reals, sides[1][fake]), Calibration(), record.seed)[0])
            for fake, reals in _partners(record, *sides)
        },
        years=_by_year(record, generators),
        frame_auc=_frame_auc(record, model, column),
        without_logit=len(evaluation.pictures) - len(usable.pictures),
    )


def _partners(
    record: Record, reals: Mapping[str, Logits], fakes: Mapping[str, Logits]
) -> Iterator[tuple[str, Logits]]:
    """Generators and the logits of the photographs that they are matched with."""
    partners: dict[str, set[str]] = {}
    for name, facts in record.sources.items():
        fake, real = (name, facts.matched) if name in fakes else (facts.matched, name)
        if fake in fakes and real in reals:
            partners.setdefault(str(fake), set()).add(str(real))
    for fake, names in sorted(partners.items()):
        yield fake, np.concatenate([reals[name] for name in sorted(names)])


def _by_year(record: Record, generators: Mapping[str, Figures]) -> dict[str, float | None]:
    years: dict[str, list[float]] = {}
    for name, figures in generators.items():
        facts, found = record.sources.get(name), figures[AUC]
        if facts and facts.year and found:
            years.setdefault(str(facts.year), []).append(found[0])
    return {year: round(float(np.mean(x)), 4) for year, x in sorted(years.items())}


def _frame_auc(record: Record, model: ScoredModel, column: str) -> float | None:
    if not any(item.video for item in record.items):
        return None
    value = record.evaluation(model, single_frames=True).finite(column).mean_auc(column)
    return round(value, 4) if math.isfinite(value) else None


def _comparisons(
    record: Record, draws: int, resampled: Mapping[tuple[str, str], Resampled | None]
) -> Iterator[Comparison]:
    for a, b in combinations(record.models, 2):
        evaluations = [record.evaluation(model) for model in (a, b)]
        for column in record.columns:
            pair = [resampled[model.name, column] for model in (a, b)]
            finite = [np.isfinite(e.logits[column]) for e in evaluations]
            if (finite[0] != finite[1]).any():  # on what both of them judged alone
                both = [e.where(finite[0] & finite[1]) for e in evaluations]
                pair = [
                    _resampled(e, column, model, record.seed, draws)
                    for e, model in zip(both, (a, b), strict=True)
                ]
            found = difference(pair[0], pair[1]) if pair[0] and pair[1] else None
            yield Comparison(
                a=a.name,
                b=b.name,
                column=column,
                difference=_rounded(found.estimate) if found else None,
                p=round(found.p, 4) if found else None,
            )


def _resampled(
    usable: Evaluation, column: str, model: ScoredModel, seed: int, draws: int
) -> Resampled | None:
    if not usable.source_names(0) or not usable.source_names(1):
        return None
    return resample(usable, column, model.calibration, seed, draws)


def _figures(resampled: Resampled | None, row: str) -> Figures:
    if resampled is None or row not in resampled.values:
        return dict.fromkeys(METRICS)
    return {metric: _rounded(resampled.estimate(row, metric)) for metric in METRICS}


def _rounded(estimate: Estimate | None) -> Estimate | None:
    if estimate is None:
        return None
    value, low, high = (round(x, 4) for x in estimate)
    return (value, low, high)
