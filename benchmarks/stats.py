"""Percentiles, medians and bootstrap intervals of measured samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE_PERCENT = 95.0
_DRAWN_AT_ONCE = 200_000


def percentiles(
    samples: Sequence[float], ps: Sequence[float] = (50, 90, 95, 99)
) -> dict[str, float]:
    """Nearest-rank percentiles, as trtexec counts them: nothing interpolated, nothing removed.

    The p-th is the sorted sample number n - 1 - floor((1 - p/100)·n), counted from 0.

    Args:
        samples: at least one, in any order and unit.
        ps: each in 0..100.

    Returns:
        "p50", "p90", … → a sample, in the unit of `samples`.

    Raises:
        ValueError: no samples, one that is not finite, or a percentile outside 0..100.
    """
    if any(not 0 <= p <= 100 for p in ps):
        raise ValueError(f"percentiles lie in 0..100, found {list(ps)}")
    ordered = sorted(_checked(samples))
    return {f"p{p:g}": ordered[_rank(p, len(ordered))] for p in ps}


def _rank(p: float, count: int) -> int:
    # Of 100 and rounded, for (1 - 0.9)·10 is just below 1 in binary and would lose a sample.
    excluded = math.floor(round((100 - p) * count / 100, 9))
    return max(count - 1 - excluded, 0)


def median(samples: Sequence[float]) -> float:
    """The middle sample; the mean of the two middle ones of an even number.

    Raises:
        ValueError: no samples, or one that is not finite.
    """
    return float(statistics.median(_checked(samples)))


def bootstrap_ratio(
    a: Sequence[float], b: Sequence[float], seed: int, draws: int = 2000
) -> tuple[float, float, float]:
    """median(a) / median(b), with its 95 % interval.

    Percentile bootstrap (Efron, 1979): both sides are drawn with replacement, independently, so
    the two need be neither paired nor of one length.

    Args:
        a: the numerator, at least one positive sample.
        b: the denominator, in the same unit.
        seed: of the draws; the same seed gives the same interval.
        draws: how many resamples.

    Returns:
        (ratio, low, high).

    Raises:
        ValueError: an empty side, a sample that is not finite and positive, or no draws.
    """
    if draws < 1:
        raise ValueError(f"expected at least one draw, found {draws}")
    if min(_checked(a)) <= 0 or min(_checked(b)) <= 0:
        raise ValueError("a ratio needs samples above zero")
    rng = np.random.default_rng(seed)
    ratios = _resampled_medians(a, draws, rng) / _resampled_medians(b, draws, rng)
    tail = (100 - CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return median(a) / median(b), float(low), float(high)


def _resampled_medians(
    samples: Sequence[float], draws: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    values = np.asarray(samples, dtype=np.float64)
    # In portions: all at once would take draws × samples of memory.
    at_once = max(1, _DRAWN_AT_ONCE // values.size)
    portions = [min(at_once, draws - start) for start in range(0, draws, at_once)]
    return np.concatenate(
        [np.median(rng.choice(values, (rows, values.size)), axis=1) for rows in portions]
    )


def _checked(samples: Sequence[float]) -> Sequence[float]:
    if len(samples) == 0:
        raise ValueError("expected at least one sample, found none")
    if not all(map(math.isfinite, samples)):
        raise ValueError("samples must be finite numbers")
    return samples
