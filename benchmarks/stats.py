"""Percentiles, power laws and bootstrap intervals of measured samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

CONFIDENCE_PERCENT = 95.0
DRAWS = 2000


def percentiles(
    samples: Sequence[float], ps: Sequence[float] = (50, 90, 95, 99)
) -> dict[str, float]:
    """Nearest-rank percentiles, as trtexec counts them: nothing interpolated, nothing removed.

    The p-th is the sorted sample number n - 1 - floor((1 - p/100)·n), counted from 0; under "p50",
    "p90", … in the unit of the samples, of which there is one at least.
    """
    ordered = sorted(samples)
    return {f"p{p:g}": ordered[_rank(p, len(ordered))] for p in ps}


def _rank(p: float, count: int) -> int:
    # Of 100 and rounded, for (1 - 0.9)·10 is just below 1 in binary and would lose a sample.
    excluded = math.floor(round((100 - p) * count / 100, 9))
    return max(count - 1 - excluded, 0)


def bootstrap_ratio(
    a: Sequence[float], b: Sequence[float], seed: int, draws: int = DRAWS
) -> tuple[float, float, float]:
    """median(a) / median(b), with its 95 % interval.

    Percentile bootstrap (Efron, 1979): both sides are drawn with replacement, independently, so
    the two need be neither paired nor of one length. Samples are positive.

    Returns:
        (ratio, low, high); the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    medians = [np.median(rng.choice(side, (draws, len(side))), axis=1) for side in (a, b)]
    ratios = medians[0] / medians[1]
    tail = (100 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return median(a) / median(b), float(low), float(high)


@dataclass(frozen=True, slots=True)
class Fit:
    """time = factor · x^exponent, by least squares on logarithms, with the exponent's 95 % interval
    (None where there was one round only).
    """

    exponent: float
    factor: float
    low: float | None = None
    high: float | None = None


def fit_power(xs: Sequence[float], samples: Sequence[Sequence[float]], seed: int) -> Fit:
    """Fit a power law through the median of each point's rounds.

    The interval is a percentile bootstrap over rounds, the same rounds at every point, so that a
    slow moment that fell on all points does not widen it.

    Args:
        xs: positive, at least two different ones.
        samples: for each x the positive times of rounds 1, 2, …; surplus rounds are left out of
            the interval where a run was interrupted.
        seed: of the draws.
    """
    log_x = np.log(np.asarray(xs, np.float64))
    slope, height = np.polyfit(log_x, np.log([median(times) for times in samples]), 1)
    rounds = min(map(len, samples))
    if rounds < 2:
        return Fit(float(slope), float(np.exp(height)))
    paired = np.array([times[:rounds] for times in samples], np.float64)
    picks = np.random.default_rng(seed).integers(0, rounds, (DRAWS, rounds))
    slopes, _ = np.polyfit(log_x, np.log(np.median(paired[:, picks], axis=2)), 1)
    tail = (100 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(slopes, [tail, 100 - tail])
    return Fit(float(slope), float(np.exp(height)), float(low), float(high))
