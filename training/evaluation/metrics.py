"""Figures of generators against photographs, with intervals that resample sources and pictures.

Pictures of one camera or generator resemble each other, so that an interval from pictures alone is
far too narrow for the next camera. Two stages with replacement (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8): sources first, then the pictures of each source
that was drawn. A draw is a weight for each picture, so that a thousand draws are a few cumulative
sums over logits that are sorted once, and models on the same pictures are compared on equal draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.decision.verdict import VerdictSettings, judge_once
from edge.manifest import Calibration
from training.evaluation.record import Evaluation, Logits

AUC, AP, ACCURACY = "AUC", "AP", "accuracy"
ON_REAL, ON_FAKE = "accuracy on photographs", "accuracy on generated"
FALSE_ALARMS = "false alarms"
TPR_AT = MappingProxyType({"found at 1 % false alarms": 0.01, "found at 5 % false alarms": 0.05})
METRICS: tuple[str, ...] = (AUC, AP, ACCURACY, ON_REAL, ON_FAKE, *TPR_AT, FALSE_ALARMS)
"""Each 0..1. AP and accuracy depend on how many pictures each side has; the others do not."""

DRAWS = 1000
CONFIDENCE_PERCENT = 95.0
MEAN = "mean"
"""The row that averages over generators."""

_SLACK = 1e-9
_AT_ONCE = 2_000_000
"""Weights that are worked on at once; bounds the memory."""

Draws = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Estimate = tuple[float, float, float]
"""A value with the low and the high end of its 95 % interval."""


def measure(
    reals: Logits,
    fakes: Logits,
    calibration: Calibration,
    real_weights: npt.NDArray[Any] | None = None,
    fake_weights: npt.NDArray[Any] | None = None,
) -> dict[str, Draws]:
    """Every measure for every weighting.

    AP is the mean precision over recall steps, `found at` the most of the generated pictures above
    any threshold that at most that share of the photographs reaches; both as in scikit-learn
    (`average_precision_score`, `roc_curve`), nothing interpolated.

    Args:
        reals: finite logits of photographs.
        fakes: finite logits of generated pictures.
        calibration: whose threshold accuracies and false alarms are counted at.
        real_weights: [draws, reals], not negative; None counts each once.
        fake_weights: likewise.

    Returns:
        Measure → float64 [draws]; NaN where a side has no weight.
    """
    sides = [
        np.ones((1, len(x)), np.float32) if weights is None else weights
        for x, weights in ((reals, real_weights), (fakes, fake_weights))
    ]
    logits = np.concatenate([reals, fakes])
    flags = called(logits, calibration)
    order = np.argsort(-logits, kind="stable")
    # The last of each run of equal logits: a threshold cannot part them.
    ends = np.flatnonzero(np.append(np.diff(logits[order]) != 0, len(logits) > 0))
    portions = min(len(sides[0]) * len(logits) // _AT_ONCE + 1, len(sides[0]))
    split = (np.array_split(side, portions) for side in sides)
    joined = (np.concatenate(pair, axis=1, dtype=np.float64) for pair in zip(*split, strict=True))
    parts = [_measured(weights, len(reals), flags, order, ends) for weights in joined]
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


def _measured(
    weights: Draws,
    reals: int,
    flags: Flags,
    order: npt.NDArray[np.intp],
    ends: npt.NDArray[np.intp],
) -> dict[str, Draws]:
    fake = np.arange(len(flags)) >= reals
    total_reals, total_fakes = weights[:, ~fake].sum(1), weights[:, fake].sum(1)
    false, hits = weights @ (flags & ~fake), weights @ (flags & fake)
    # What lies at or above each threshold, and what each step down adds.
    fp, tp = (np.cumsum((weights * side)[:, order], axis=1)[:, ends] for side in (~fake, fake))
    passed, gained = (np.diff(x, axis=1, prepend=0) for x in (fp, tp))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {
            AUC: (passed * (tp - gained / 2)).sum(1) / (total_fakes * total_reals),
            AP: np.where(gained > 0, gained * tp / (tp + fp), 0).sum(1) / total_fakes,
            ACCURACY: (hits + total_reals - false) / (total_fakes + total_reals),
            ON_REAL: (total_reals - false) / total_reals,
            ON_FAKE: hits / total_fakes,
            FALSE_ALARMS: false / total_reals,
        }
        for name, share in TPR_AT.items():
            allowed = fp <= (share + _SLACK) * total_reals[:, None]
            values[name] = np.where(allowed, tp, 0).max(axis=1, initial=0) / total_fakes
    defined = (total_fakes > 0) & (total_reals > 0)
    return {name: np.where(defined, value, np.nan) for name, value in values.items()}


def scores(logits: Logits, calibration: Calibration) -> Logits:
    """Calibrated scores of finite logits."""
    return np.array([calibration.score(float(x)) for x in logits], np.float64)


def called(logits: Logits, calibration: Calibration) -> Flags:
    """Whether each finite logit scores above the threshold."""
    return scores(logits, calibration) > calibration.threshold


def uncertain(logits: Logits, calibration: Calibration) -> Flags:
    """Whether the verdict on each finite logit, alone, is `uncertain`."""
    margin = VerdictSettings().margin
    states = [judge_once(calibration, float(x), margin).state for x in logits]
    return np.array([state == "uncertain" for state in states], bool)


def estimate(value: float, draws: Draws) -> Estimate | None:
    """A value with its percentile interval over draws; None where either is not defined."""
    usable = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(usable):
        return None
    tail = (100 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(usable, [tail, 100 - tail])
    return (float(value), float(low), float(high))


def two_stage(
    sizes: Sequence[int], rng: np.random.Generator, draws: int
) -> tuple[list[Weights], npt.NDArray[np.int64]]:
    """Draw sources with replacement, and pictures of each as often as its source was drawn.

    Returns:
        Per source, of these sizes, how often each picture was drawn, [draws, pictures]; and how
        often each source was, [draws, sources].
    """
    counts = rng.multinomial(len(sizes), [1 / len(sizes)] * len(sizes), size=draws)
    drawn = [resampled(size, rng, counts[:, k] * size) for k, size in enumerate(sizes)]
    return drawn, counts


def resampled(size: int, rng: np.random.Generator, picks: npt.ArrayLike) -> Weights:
    """Draw `picks` of `size` things with replacement: how often each was, float32 [draws, size]."""
    return rng.multinomial(np.asarray(picks), [1 / size] * size).astype(np.float32)


class Resampled(NamedTuple):
    """Generator, or `MEAN` over them, → measure → value, and the same for each resample.

    The draws of two models with the same pictures and seed are paired.
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

    Every logit under `column` is finite, and both labels occur.
    """
    cameras, generators = (evaluation.by_source(column, label) for label in (0, 1))
    reals: Logits = np.concatenate(list(cameras.values()))
    rng = np.random.default_rng(seed)
    of_reals = np.concatenate(two_stage([len(x) for x in cameras.values()], rng, draws)[0], axis=1)
    by_generator, counts = two_stage([len(x) for x in generators.values()], rng, draws)
    values: dict[str, dict[str, float]] = {}
    drawn: dict[str, dict[str, Draws]] = {}
    mean = {m: np.zeros(draws) for m in METRICS}
    for k, (name, fakes) in enumerate(generators.items()):
        point = measure(reals, fakes, calibration)
        values[name] = {m: float(point[m][0]) for m in METRICS}
        own = resampled(len(fakes), rng, np.full(draws, len(fakes)))
        drawn[name] = measure(reals, fakes, calibration, of_reals, own)
        # Divided by the count, or AP and accuracy would see a generator that was drawn twice as
        # one with twice the pictures.
        weights = by_generator[k] / np.maximum(counts[:, [k]], 1).astype(np.float32)
        often = measure(reals, fakes, calibration, of_reals, weights)
        for m in METRICS:
            mean[m] += np.where(counts[:, k] > 0, often[m], 0) * counts[:, k] / len(generators)
    values[MEAN] = {m: float(np.mean([row[m] for row in values.values()])) for m in METRICS}
    return Resampled(values, {**drawn, MEAN: mean})


class Difference(NamedTuple):
    """How much higher a measure is for one model than for another, and the two-sided p of no
    difference, at least 2 / (draws + 1).
    """

    estimate: Estimate
    p: float


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


def clustered(
    sides: Sequence[Logits],
    calibration: Calibration,
    seed: int,
    clusters: Sequence[npt.NDArray[np.intp]] | None = None,
) -> tuple[Estimate | None, Estimate | None]:
    """AUC and balanced accuracy of one source against another; None where a side is empty.

    The intervals draw clusters (a video's faces), numbered from 0; without them, pictures.
    """
    if not all(map(len, sides)):
        return None, None
    rng, weights = np.random.default_rng(seed), []
    for cluster in clusters or [np.arange(len(x)) for x in sides]:
        count = int(cluster.max()) + 1
        weights.append(resampled(count, rng, np.full(DRAWS, count))[:, cluster])
    reals, fakes = sides
    point, drawn = (measure(reals, fakes, calibration, *w) for w in ((), weights))
    balanced = [(values[ON_REAL] + values[ON_FAKE]) / 2 for values in (point, drawn)]
    auc = estimate(float(point[AUC][0]), drawn[AUC])
    return auc, estimate(float(balanced[0][0]), balanced[1])


def share_estimate(flags: Mapping[str, Flags], seed: int, draws: int = DRAWS) -> Estimate | None:
    """The share of True over all sources, with an interval that resamples sources and pictures.

    It is never narrower than Wilson's (Probable Inference, 1927) of as many pictures: a resample of
    nothing but False is always 0, which does not mean that the share is.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    filled = [flags[name].astype(np.float32) for name in sorted(flags) if len(flags[name])]
    if not filled:
        return None
    drawn, _ = two_stage([len(x) for x in filled], np.random.default_rng(seed), draws)
    hits = sum(weights @ x for weights, x in zip(drawn, filled, strict=True))
    total = sum(weights.sum(axis=1) for weights in drawn)
    every = np.concatenate(filled)
    found = estimate(float(every.mean(dtype=np.float64)), np.asarray(hits / total))
    if found is None:
        return None
    level = CONFIDENCE_PERCENT / 100
    wilson = binomtest(int(every.sum()), len(every)).proportion_ci(level, method="wilson")
    return (found[0], min(found[1], wilson.low), max(found[2], wilson.high))
