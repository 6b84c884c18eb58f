"""Intervals and a paired test that resample sources and, within each, pictures.

Pictures of one camera or generator resemble each other, so that an interval from pictures alone is
far too narrow for the next camera. Two stages with replacement (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8): sources first, then the pictures of each source
that was drawn. With a handful of sources such an interval is still rough, mostly too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edge.manifest import Calibration
from training.evaluation.measured import Evaluation, Logits
from training.evaluation.metrics import AUC, METRICS, Ranking, Weights

DRAWS = 1000
CONFIDENCE_PERCENT = 95.0
MEAN = "mean"
"""The row that averages over generators."""

_AT_ONCE = 2_000_000

Draws = npt.NDArray[np.float64]
Estimate = tuple[float, float, float]
"""A value with the low and the high end of its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher a measure is for one model than for another on the same pictures.

    Attributes:
        estimate: the difference with its interval.
        p: two-sided, that of no difference; at least 2 / (draws + 1), at most 1.
    """

    estimate: Estimate
    p: float


def two_stage(
    sizes: Sequence[int], rng: np.random.Generator, draws: int
) -> tuple[list[Weights], npt.NDArray[np.int64]]:
    """Draw sources with replacement, and pictures of each as often as its source was drawn.

    Args:
        sizes: pictures per source; at least one source, none empty.
        rng: of the draws.
        draws: how many.

    Returns:
        Per source how often each picture was drawn, [draws, pictures]; and how often each source
        was, [draws, sources].
    """
    counts = rng.multinomial(len(sizes), [1 / len(sizes)] * len(sizes), size=draws)
    drawn = [
        rng.multinomial(counts[:, k] * size, [1 / size] * size).astype(np.float64)
        for k, size in enumerate(sizes)
    ]
    return drawn, counts


def within(size: int, rng: np.random.Generator, draws: int) -> Weights:
    """Draw pictures of one source with replacement: how often each was, [draws, size]."""
    return rng.multinomial(size, [1 / size] * size, size=draws).astype(np.float64)


def estimate(value: float, draws: Draws) -> Estimate | None:
    """A value with its percentile interval; None where either is not defined."""
    usable = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(usable):
        return None
    tail = (100 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(usable, [tail, 100 - tail])
    return (float(value), float(low), float(high))


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Measures of one model under one degradation.

    Attributes:
        values: generator, or `MEAN` over them, → measure → value.
        draws: the same for each resample; the draws of two models with the same pictures and seed
            are paired.
    """

    values: Mapping[str, Mapping[str, float]]
    draws: Mapping[str, Mapping[str, Draws]]

    def estimate(self, row: str, metric: str) -> Estimate | None:
        """A measure with its interval."""
        return estimate(self.values[row][metric], self.draws[row][metric])


def resample(
    evaluation: Evaluation, column: str, calibration: Calibration, seed: int, draws: int = DRAWS
) -> Resampled:
    """Measure each generator and their mean, once as they are and once for each draw.

    A generator's own row keeps the generator and resamples its pictures, and photographs by camera
    and picture; the mean resamples generators too.

    Args:
        evaluation: only finite logits under `column`; both labels occur.
        column: a degradation.
        calibration: whose threshold accuracies and false alarms are counted at.
        seed: of the draws.
        draws: how many.
    """
    sampler = _Sampler(evaluation, column, calibration)
    parts = list(sampler.draws(seed, draws))
    rows = parts[0].keys()
    joined = {
        row: {m: np.concatenate([part[row][m] for part in parts]) for m in METRICS} for row in rows
    }
    return Resampled(sampler.values(), joined)


def difference(a: Resampled, b: Resampled, row: str = MEAN, metric: str = AUC) -> Difference | None:
    """A − B of paired draws; None where one of them is not defined.

    p is twice the smaller share of the draws on either side of no difference (Davison and Hinkley,
    section 4.4), each draw at zero counted on both.
    """
    gaps = a.draws[row][metric] - b.draws[row][metric]
    gaps = gaps[np.isfinite(gaps)]
    found = estimate(a.values[row][metric] - b.values[row][metric], gaps)
    if found is None:
        return None
    rarer = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return Difference(found, min(1.0, 2 * (rarer + 1) / (len(gaps) + 1)))


def share_estimate(flags: Mapping[str, npt.NDArray[np.bool_]], seed: int) -> Estimate | None:
    """The share of True over all sources, with an interval that resamples sources and pictures.

    It is never narrower than Wilson's (Probable Inference, 1927) of as many pictures: a resample of
    nothing but False is always 0, which does not mean that the share is.

    Args:
        flags: source → bool [pictures].
        seed: of the draws.
    """
    filled = [flags[name].astype(np.float64) for name in sorted(flags) if len(flags[name])]
    if not filled:
        return None
    drawn, _ = two_stage([len(x) for x in filled], np.random.default_rng(seed), DRAWS)
    hits = sum(weights @ x for weights, x in zip(drawn, filled, strict=True))
    total = sum(weights.sum(axis=1) for weights in drawn)
    every = np.concatenate(filled)
    found = estimate(float(every.mean()), np.asarray(hits / total))
    if found is None:
        return None
    low, high = _wilson(float(every.mean()), len(every))
    return (found[0], min(found[1], low), max(found[2], high))


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE_PERCENT / 200)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z
        / (1 + z * z / count)
        * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return max(0.0, centre - half), min(1.0, centre + half)


class _Sampler:
    def __init__(self, evaluation: Evaluation, column: str, calibration: Calibration) -> None:
        self._generators = evaluation.source_names(1)
        cameras = evaluation.source_names(0)
        by_camera = [evaluation.of_source(column, 0, name) for name in cameras]
        self._cameras = [len(x) for x in by_camera]
        fakes = [evaluation.of_source(column, 1, name) for name in self._generators]
        self._sizes = [len(x) for x in fakes]
        reals: Logits = np.concatenate(by_camera)
        self._rankings = [Ranking.of(reals, x, calibration) for x in fakes]

    def values(self) -> dict[str, dict[str, float]]:
        reals = sum(self._cameras)
        rows = {
            name: {m: float(v[0]) for m, v in ranking.measure(np.ones((1, reals + size))).items()}
            for name, ranking, size in zip(
                self._generators, self._rankings, self._sizes, strict=True
            )
        }
        mean = {m: float(np.mean([row[m] for row in rows.values()])) for m in METRICS}
        return {**rows, MEAN: mean}

    def draws(self, seed: int, draws: int) -> Iterator[dict[str, Mapping[str, Draws]]]:
        """In portions, or large sets would take draws × pictures of memory at once."""
        at_once = max(1, _AT_ONCE // (sum(self._cameras) + sum(self._sizes)))
        rng = np.random.default_rng(seed)
        for start in range(0, draws, at_once):
            yield self._portion(rng, min(at_once, draws - start))

    def _portion(self, rng: np.random.Generator, draws: int) -> dict[str, Mapping[str, Draws]]:
        by_camera, _ = two_stage(self._cameras, rng, draws)
        reals = np.concatenate(by_camera, axis=1)
        by_generator, counts = two_stage(self._sizes, rng, draws)
        rows: dict[str, Mapping[str, Draws]] = {}
        mean = {m: np.zeros(draws) for m in METRICS}
        for k, (name, ranking) in enumerate(zip(self._generators, self._rankings, strict=True)):
            own = within(self._sizes[k], rng, draws)
            rows[name] = ranking.measure(np.concatenate([reals, own], axis=1))
            # Divided by the count, or AP and accuracy would see a generator that was drawn twice
            # as one with twice the pictures.
            drawn = by_generator[k] / np.maximum(counts[:, k : k + 1], 1)
            measured = ranking.measure(np.concatenate([reals, drawn], axis=1))
            for m in METRICS:
                mean[m] += np.where(counts[:, k] > 0, measured[m], 0) * counts[:, k]
        return {**rows, MEAN: {m: total / len(self._sizes) for m, total in mean.items()}}


def alarm_flags(
    evaluation: Evaluation, column: str, calibration: Calibration
) -> dict[str, npt.NDArray[np.bool_]]:
    """Per photograph source, whether each finite logit scores above the threshold."""
    found = {}
    for name in evaluation.source_names(0):
        logits = evaluation.of_source(column, 0, name)
        scores = [calibration.score(float(x)) for x in logits[np.isfinite(logits)]]
        found[name] = np.asarray(scores, dtype=np.float64) > calibration.threshold
    return found
