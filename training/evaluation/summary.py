"""From logits to figures: the compact form of an evaluation, fit to be committed.

It holds no picture, path or logit: counts, figures per source with intervals, and where they come
from. All tables are made from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from edge.manifest import Calibration
from training.evaluation.clips import ClipFigures, clip_figures, clips_of
from training.evaluation.metrics import (
    AUC,
    DRAWS,
    MEAN,
    METRICS,
    Estimate,
    Flags,
    called,
    clustered,
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


class _Part(BaseModel):
    """Part of a file; keys that earlier versions wrote besides are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Source(_Part):
    """One camera or generator."""

    label: Literal[0, 1]
    name: str
    count: int = Field(ge=1, description="Pictures and videos.")
    videos: int = Field(default=0, ge=0)
    group: str = Field(default="", description="As --sources has it.")
    year: int | None = Field(default=None, description="Of the generator, likewise.")


class ColumnFigures(_Part):
    """One model under one degradation."""

    mean: Figures = Field(description="Mean over generators; the interval resamples them too.")
    generators: dict[str, Figures] = Field(description="Each against all photographs.")
    false_alarms: Estimate | None = Field(description="Share of all photographs, by source.")
    photographs: Figures = Field(description="Source → share of false alarms.")
    groups: Figures = Field(default={}, description="Of photographs → share of false alarms.")
    uncertain: Figures = Field(
        default={}, description="photographs, generated → share whose verdict is uncertain."
    )
    matched: Figures = Field(
        default={}, description="Generator → AUC against the source that it is matched with."
    )
    years: dict[str, float | None] = Field(
        default={}, description="Year → mean AUC of its generators against all photographs."
    )
    clips: ClipFigures = Field(
        default={}, description="Of videos, each as one decision; see training/evaluation/clips.py."
    )
    without_logit: int = Field(ge=0, description="Pictures that the model gave no finite logit.")


class ModelFigures(ModelFacts):
    """One model under every degradation."""

    columns: dict[str, ColumnFigures]
    failure: str | None = None


class Summary(_Part):
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

    def names(self, label: int) -> list[str]:
        """Sources of a label."""
        return [source.name for source in self.sources if source.label == label]

    def count(self, label: int, name: str | None = None) -> int:
        """Pictures and videos of a label, or of one of its sources."""
        of_label = [s for s in self.sources if s.label == label]
        return sum(s.count for s in of_label if name is None or s.name == name)


def summarise(record: Record, draws: int = DRAWS) -> Summary:
    """Every figure of a record, with intervals of so many draws; always the same for the same."""
    models = []
    for model in record.models:
        evaluation = record.evaluation(model)
        columns = {c: _column(record, model, evaluation, c, draws) for c in record.columns}
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
    record: Record, model: ScoredModel, evaluation: Evaluation, column: str, draws: int
) -> ColumnFigures:
    def share(flags: Mapping[str, Flags]) -> Estimate | None:
        return _rounded(share_estimate(flags, record.seed))

    usable, calibration = evaluation.finite(column), model.calibration
    reals, fakes = (usable.by_source(column, label) for label in (0, 1))
    alarms = {name: called(x, calibration) for name, x in reals.items()}
    groups: dict[str, dict[str, Flags]] = {}
    for name in sorted(alarms.keys() & record.sources.keys()):
        groups.setdefault(record.sources[name].group, {})[name] = alarms[name]
    found: Mapping[str, Mapping[str, Estimate | None]] = {}
    if reals and fakes:
        found = resample(usable, column, calibration, record.seed, draws)
    rows = {
        row: {metric: _rounded(found.get(row, {}).get(metric)) for metric in METRICS}
        for row in (MEAN, *evaluation.source_names(1))
    }
    return ColumnFigures(
        mean=rows.pop(MEAN),
        generators=rows,
        false_alarms=share(alarms),
        photographs={
            name: share({name: alarms[name]}) if name in alarms else None
            for name in evaluation.source_names(0)
        },
        groups={group: share(flags) for group, flags in sorted(groups.items())},
        uncertain={
            word: share({name: uncertain(x, calibration) for name, x in side.items()})
            for word, side in (("photographs", reals), ("generated", fakes))
        },
        matched={
            fake: _rounded(clustered((partner, fakes[fake]), Calibration(), record.seed)[0])
            for fake, partner in _partners(record, reals, fakes)
        },
        years=_by_year(record, rows),
        clips=clip_figures(clips_of(record, model, column), calibration, record.seed),
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


def _rounded(estimate: Estimate | None) -> Estimate | None:
    return estimate and (round(estimate[0], 4), round(estimate[1], 4), round(estimate[2], 4))
