from __future__ import annotations

import numpy as np
import pytest

from benchmarks.stats import bootstrap_ratio, fit_power, median, percentiles


def test_percentiles_of_one_to_a_hundred() -> None:
    found = percentiles([float(value) for value in range(100, 0, -1)])
    assert found == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


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
    samples = [float(value) for value in range(1, count + 1)]
    assert percentiles(samples, (p,)) == {f"p{p:g}": expected}


def test_an_outlier_is_kept_and_the_samples_are_left_as_they_are() -> None:
    samples = [500.0, *[1.0] * 9]
    assert percentiles(samples, (95,))["p95"] == 500.0
    assert samples == [500.0, *[1.0] * 9]


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_unusable_samples_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="sample"):
        percentiles(samples)
    with pytest.raises(ValueError, match="sample"):
        median(samples)
    with pytest.raises(ValueError, match=r"0\.\.100"):
        percentiles([1.0], (101,))


def test_median() -> None:
    assert median([5.0, 1.0, 3.0]) == 3.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_bootstrap_of_constant_samples_has_no_width() -> None:
    assert bootstrap_ratio([3.0] * 5, [2.0] * 8, seed=0) == (1.5, 1.5, 1.5)


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


def test_bootstrap_is_repeatable_by_its_seed() -> None:
    a, b = [1.0, 2.0, 3.0, 9.0], [2.0, 2.5, 4.0]
    assert bootstrap_ratio(a, b, seed=4) == bootstrap_ratio(a, b, seed=4)
    assert bootstrap_ratio(a, b, seed=4, draws=50) != bootstrap_ratio(a, b, seed=5, draws=50)


@pytest.mark.parametrize(("a", "b"), [([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_bootstrap_refuses_what_has_no_ratio(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError):
        bootstrap_ratio(a, b, seed=0)
    with pytest.raises(ValueError, match="draw"):
        bootstrap_ratio([1.0], [1.0], seed=0, draws=0)


def test_an_exact_power_law_is_found_exactly() -> None:
    xs = (1.0, 10.0, 100.0)
    fit = fit_power(xs, [[3 * x**1.5] * 4 for x in xs], seed=0)
    assert fit.exponent == pytest.approx(1.5)
    assert fit.factor == pytest.approx(3.0)
    assert fit.low == pytest.approx(1.5)
    assert fit.high == pytest.approx(1.5)


def test_noise_widens_the_interval_around_the_exponent() -> None:
    rng = np.random.default_rng(7)
    xs = [float(2**power) for power in range(8)]
    samples = [list(x * rng.lognormal(0, 0.2, 15)) for x in xs]
    fit = fit_power(xs, samples, seed=0)
    assert fit.low is not None
    assert fit.high is not None
    assert 0.8 < fit.low < fit.exponent < fit.high < 1.2
    assert fit == fit_power(xs, samples, seed=0)


def test_a_slow_moment_that_fell_on_every_point_does_not_widen_it() -> None:
    xs = (1.0, 2.0, 4.0)
    fit = fit_power(xs, [[x, 3 * x, 9 * x] for x in xs], seed=0)
    assert fit.low == pytest.approx(1.0)
    assert fit.high == pytest.approx(1.0)


def test_one_round_gives_no_interval_and_a_surplus_round_is_left_out() -> None:
    assert fit_power((1.0, 2.0), [[1.0], [2.0]], seed=0).low is None
    fit = fit_power((1.0, 2.0), [[1.0, 1.0, 1.0], [2.0, 2.0]], seed=0)
    assert fit.low == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("xs", "samples"),
    [((1.0,), [[1.0]]), ((1.0, 1.0), [[1.0], [1.0]]), ((1.0, 2.0), [[1.0], []])],
)
def test_what_cannot_be_fitted_is_refused(
    xs: tuple[float, ...], samples: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match="two different points"):
        fit_power(xs, samples, seed=0)
    with pytest.raises(ValueError, match="above zero"):
        fit_power((1.0, 2.0), [[1.0], [0.0]], seed=0)
