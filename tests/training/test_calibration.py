from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import ModelError
from training.calibration import alarm_share, calibrate, fit_platt, threshold_logit
from training.data.folders import Picture
from training.evaluation import Evaluation, Logits


def _gaussians(reals: int = 4000, fakes: int = 1000) -> tuple[Logits, Logits]:
    rng = np.random.default_rng(0)
    return rng.normal(10.0, 2.0, reals), rng.normal(14.0, 2.0, fakes)


def test_platt_finds_the_known_line_of_two_gaussians() -> None:
    # Equal spreads s and means m0 < m1: log-odds = (x − (m0+m1)/2) · (m1−m0)/s².
    temperature, bias = fit_platt(*_gaussians())
    assert temperature == pytest.approx(1.0, rel=0.1)
    assert bias == pytest.approx(12.0, abs=0.2)


def test_perfect_separation_still_gives_finite_numbers() -> None:
    temperature, bias = fit_platt(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    assert temperature > 0 and 1 < bias < 2


def test_logits_the_wrong_way_round_are_refused() -> None:
    reals, fakes = _gaussians()
    with pytest.raises(ModelError, match="are not above"):
        fit_platt(fakes, reals)


def test_the_threshold_lets_the_given_share_pass() -> None:
    reals = np.arange(40.0)
    assert (reals > threshold_logit(reals, 0.05)).sum() == 2
    assert (reals > threshold_logit(reals, 0.0)).sum() == 0


def test_the_worst_degradation_sets_the_threshold() -> None:
    reals, fakes = _gaussians(200, 200)
    pictures = tuple(Picture(Path("a"), i // 200, "s") for i in range(400))
    logits = np.concatenate([reals, fakes])
    evaluation = Evaluation(pictures, {"mild": logits, "hard": logits + 1.0})
    calibration = calibrate(evaluation)
    assert alarm_share(reals + 1.0, calibration) == pytest.approx(0.05)
    assert alarm_share(reals, calibration) < 0.05
    assert alarm_share(fakes, calibration) > 0.3
    assert 0 < calibration.threshold < 1
