from __future__ import annotations

import numpy as np
import pytest

from benchmarks.stats import bootstrap_ratio, fit_power, percentiles


@pytest.mark.parametrize(
    ("count", "p", "expected"),
    [
        (10, 90, 9.0),  # 10 - 1 - floor(0.1·10): the ninth of ten
        (10, 99, 10.0),
        (5, 50, 3.0),
        (4, 50, 2.0),  # nearest rank: a sample, never the mean of two
        (1, 99, 1.0),
        (7, 0, 1.0),
        (7, 100, 7.0),
        (1000, 99.9, 999.0),
    ],
)
def test_nearest_rank(count: int, p: float, expected: float) -> None:
    samples = [float(value) for value in range(count, 0, -1)]
    assert percentiles(samples, (p,)) == {f"p{p:g}": expected}


def test_bootstrap_ratio_is_the_first_over_the_second() -> None:
    rng = np.random.default_rng(1)
    base = list(rng.normal(10, 0.5, 200))
    ratio, low, high = bootstrap_ratio([2 * value for value in base], base, seed=0)
    assert ratio == pytest.approx(2.0)
    assert 1.9 < low < 2.0 < high < 2.1


def test_bootstrap_covers_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for seed in range(100):
        a, b = rng.lognormal(0, 0.2, 40), rng.lognormal(0, 0.2, 40)
        _, low, high = bootstrap_ratio(list(a), list(b), seed, draws=300)
        covered += low <= 1 <= high
    assert 88 <= covered <= 100


def test_a_slow_moment_that_fell_on_every_point_does_not_widen_it() -> None:
    xs = (1.0, 2.0, 4.0)
    fit = fit_power(xs, [[x, 3 * x, 9 * x] for x in xs], seed=0)
    assert fit.low == pytest.approx(1.0)
    assert fit.high == pytest.approx(1.0)


def test_one_round_gives_no_interval_and_a_surplus_round_is_left_out() -> None:
    assert fit_power((1.0, 2.0), [[1.0], [2.0]], seed=0).low is None
    fit = fit_power((1.0, 2.0), [[1.0, 1.0, 1.0], [2.0, 2.0]], seed=0)
    assert fit.low == pytest.approx(1.0)
