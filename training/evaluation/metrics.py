"""Figures of generators against photographs, with intervals that resample sources and pictures.

Pictures of one camera or generator resemble each other, so that an interval from pictures alone is
far too narrow for the next camera. Two stages with replacement (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8): sources first, then the pictures of each source
that was drawn. A draw is a weight for each picture, so that a thousand draws are a few cumulative
sums over logits that are sorted once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.decision.verdict import VerdictSettings, judge_once
from edge.manifest import Calibration
from training.evaluation.record import Evaluation, Logits

AUC, FOUND, FALSE_ALARMS = "AUC", "accuracy on generated", "false alarms"
TPR_AT = {"found at 1 % false alarms": 0.01, "found at 5 % false alarms": 0.05}
METRICS: tuple[str, ...] = (AUC, *TPR_AT, FOUND, FALSE_ALARMS)
"""Each 0..1. The last two are counted at the model's threshold."""

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

    `found at` is the most of the generated pictures above any threshold that at most that share of
    the photographs reaches, as of scikit-learn's `roc_curve`, nothing interpolated.

    Args:
        reals: finite logits of photographs.
        fakes: finite logits of generated pictures.
        calibration: whose threshold is counted at.
        real_weights: [draws, reals], not negative; None counts each once.
        fake_weights: likewise.

    Returns:
        Measure → float64 [draws]; NaN where a side that it counts has no weight.
    """
    sides = [
        np.ones((1, len(x)), np.float32) if weights is None else weights
        for x, weights in ((reals, real_weights), (fakes, fake_weights))
    ]
    order = np.argsort(reals)
    below, upto = (np.searchsorted(reals[order], fakes, side) for side in ("left", "right"))
    alarms, found = called(reals, calibration), called(fakes, calibration)
    portions = min(len(sides[0]) * (len(reals) + len(fakes)) // _AT_ONCE + 1, len(sides[0]))
    rows: dict[str, list[Draws]] = {name: [] for name in METRICS}
    for of_reals, of_fakes in zip(*(np.array_split(x, portions) for x in sides), strict=True):
        weights = of_fakes.astype(np.float64)
        lower = np.cumsum(of_reals[:, order], axis=1, dtype=np.float64)
        lower = np.concatenate([np.zeros((len(lower), 1)), lower], axis=1)
        all_reals, all_fakes = lower[:, -1], weights.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            won = (weights * (lower[:, below] + lower[:, upto])).sum(1) / 2
            values = {AUC: won / (all_reals * all_fakes), FOUND: weights @ found / all_fakes}
            values[FALSE_ALARMS] = of_reals.astype(np.float64) @ alarms / all_reals
            for name, share in TPR_AT.items():
                above = (all_reals[:, None] - lower[:, below]) / all_reals[:, None]
                found_at = (weights * (above <= share + _SLACK)).sum(1) / all_fakes
                values[name] = np.where(all_reals > 0, found_at, np.nan)
        for name, value in values.items():
            rows[name].append(value)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def scores(logits: Logits, calibration: Calibration) -> Logits:
    """Calibrated scores of finite logits."""
    return np.array([calibration.score(float(x)) for x in logits], np.float64)


def called(logits: Logits, calibration: Calibration) -> Flags:
    """Whether each finite logit scores above the threshold."""
    return scores(logits, calibration) > calibration.threshold


def uncertain(logits: Logits, calibration: Calibration) -> Flags:
    """Whether each finite logit would be `uncertain` over time, where verdicts have a margin."""
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
    if not size:
        return np.zeros((len(np.atleast_1d(picks)), 0), np.float32)
    return rng.multinomial(np.asarray(picks), [1 / size] * size).astype(np.float32)


def resample(
    evaluation: Evaluation, column: str, calibration: Calibration, seed: int, draws: int = DRAWS
) -> dict[str, dict[str, Estimate | None]]:
    """Each generator, and `MEAN` over them → measure → value with interval.

    A generator's own row keeps the generator and resamples its pictures, and photographs by camera
    and picture; the mean resamples generators too. Every logit under `column` is finite, and both
    labels occur.
    """
    cameras, generators = (evaluation.by_source(column, label) for label in (0, 1))
    reals: Logits = np.concatenate(list(cameras.values()))
    rng = np.random.default_rng(seed)
    of_reals = np.concatenate(two_stage([len(x) for x in cameras.values()], rng, draws)[0], axis=1)
    by_generator, counts = two_stage([len(x) for x in generators.values()], rng, draws)
    figures, points = {}, []
    mean = {m: np.zeros(draws) for m in METRICS}
    for k, (name, fakes) in enumerate(generators.items()):
        points.append({m: float(x[0]) for m, x in measure(reals, fakes, calibration).items()})
        own = resampled(len(fakes), rng, np.full(draws, len(fakes)))
        drawn = measure(reals, fakes, calibration, of_reals, own)
        figures[name] = {m: estimate(points[-1][m], drawn[m]) for m in METRICS}
        often = measure(reals, fakes, calibration, of_reals, by_generator[k])
        for m in METRICS:
            mean[m] += np.where(counts[:, k] > 0, often[m], 0) * counts[:, k] / len(generators)
    means = {m: float(np.mean([point[m] for point in points])) for m in METRICS}
    figures[MEAN] = {m: estimate(means[m], mean[m]) for m in METRICS}
    return figures


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
    balanced = [(1 - values[FALSE_ALARMS] + values[FOUND]) / 2 for values in (point, drawn)]
    auc = estimate(float(point[AUC][0]), drawn[AUC])
    return auc, estimate(float(balanced[0][0]), balanced[1])


def share_estimate(flags: Mapping[str, Flags], seed: int) -> Estimate | None:
    """The share of True over all sources, with an interval that resamples sources and pictures.

    It is never narrower than Wilson's (Probable Inference, 1927) of as many pictures: a resample of
    nothing but False is always 0, which does not mean that the share is.
    """
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    filled = [flags[name].astype(np.float32) for name in sorted(flags) if len(flags[name])]
    if not filled:
        return None
    drawn, _ = two_stage([len(x) for x in filled], np.random.default_rng(seed), DRAWS)
    hits = sum(weights @ x for weights, x in zip(drawn, filled, strict=True))
    total = sum(weights.sum(axis=1) for weights in drawn)
    every = np.concatenate(filled)
    found = estimate(float(every.mean(dtype=np.float64)), np.asarray(hits / total))
    if found is None:
        return None
    level = CONFIDENCE_PERCENT / 100
    wilson = binomtest(int(every.sum()), len(every)).proportion_ci(level, method="wilson")
    return (found[0], min(found[1], wilson.low), max(found[2], wilson.high))
