from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk  # type: ignore[import-untyped]

from edge.manifest import Calibration
from training.evaluation.metrics import (
    ACCURACY,
    AP,
    AUC,
    FALSE_ALARMS,
    METRICS,
    ON_FAKE,
    ON_REAL,
    TPR_AT,
    measure,
)

AT_ONE, AT_FIVE = TPR_AT


def _case(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reals, fakes = rng.normal(0, 2, 120), rng.normal(1, 2, 45)
    return (np.round(reals), np.round(fakes)) if ties else (reals, fakes)


def _once(reals: np.ndarray, fakes: np.ndarray, calibration: Calibration) -> dict[str, float]:
    return {name: float(x[0]) for name, x in measure(reals, fakes, calibration).items()}


def test_by_hand() -> None:
    # Ranked: fake 3, real 2, fake 1, real 0; above the threshold (logit 0.5): the first three.
    found = _once(np.array([2.0, 0.0]), np.array([3.0, 1.0]), Calibration(bias=0.5))
    assert found[AUC] == 0.75
    assert found[AP] == pytest.approx((1 + 2 / 3) / 2)
    assert (found[ACCURACY], found[ON_REAL], found[ON_FAKE]) == (0.75, 0.5, 1.0)
    assert found[FALSE_ALARMS] == 0.5
    assert found[AT_ONE] == found[AT_FIVE] == 0.5  # before the first false alarm


@pytest.mark.parametrize("ties", [False, True])
def test_as_scikit_learn_has_them(ties: bool) -> None:
    reals, fakes = _case(1, ties)
    calibration = Calibration(bias=0.5, threshold=0.6)
    rng = np.random.default_rng(2)
    weights = rng.integers(0, 4, (3, 165)).astype(float)
    sides = np.split(weights.astype(np.float32), [120], axis=1)
    found = measure(reals, fakes, calibration, *sides)
    labels, logits = np.repeat([0, 1], [120, 45]), np.concatenate([reals, fakes])
    called = np.array([calibration.score(x) > 0.6 for x in logits])
    for row, weight in enumerate(weights):
        assert found[AUC][row] == pytest.approx(
            sk.roc_auc_score(labels, logits, sample_weight=weight)
        )
        assert found[AP][row] == pytest.approx(
            sk.average_precision_score(labels, logits, sample_weight=weight)
        )
        assert found[ACCURACY][row] == pytest.approx(
            sk.accuracy_score(labels, called, sample_weight=weight)
        )
        alarms, hits, _ = sk.roc_curve(
            labels, logits, sample_weight=weight, drop_intermediate=False
        )
        for name, share in TPR_AT.items():
            assert found[name][row] == pytest.approx(hits[alarms <= share + 1e-9].max())


def test_equal_logits_tell_nothing_apart() -> None:
    found = _once(np.zeros(10), np.zeros(5), Calibration())
    assert found[AUC] == 0.5 and found[AP] == pytest.approx(5 / 15)
    assert found[AT_FIVE] == 0 and found[FALSE_ALARMS] == 0


@pytest.mark.parametrize("sides", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_has_no_figures(sides: tuple[int, int]) -> None:
    found = _once(np.zeros(sides[0]), np.zeros(sides[1]), Calibration())
    assert found.keys() == set(METRICS) and all(math.isnan(x) for x in found.values())
