from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edge.decision.verdict import judge_once
from edge.errors import ModelError
from edge.manifest import Calibration
from tests.training.evaluation.made import made_evaluation
from training.calibration import (
    ABOVE,
    FOUND,
    MEAN_AUC,
    UNSEEN_ABOVE,
    alarm_share,
    calibrate,
    cross_fit,
    figures,
    fit_platt,
    threshold_logit,
    with_threshold,
)
from training.data.folders import Picture
from training.evaluation import Evaluation, Logits
from training.evaluation.metrics import share_estimate


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


def test_pictures_without_a_logit_do_not_spoil_the_fit() -> None:
    reals, fakes = _gaussians(100, 100)
    pictures = tuple(Picture(Path("a"), i // 101, "s") for i in range(202))
    logits = np.concatenate([[np.nan], reals, fakes, [np.nan]])
    whole = Evaluation(pictures[1:-1], {"x": logits[1:-1]})
    assert calibrate(Evaluation(pictures, {"x": logits})) == calibrate(whole)
    assert alarm_share(logits, calibrate(whole)) == alarm_share(logits[1:-1], calibrate(whole))
    assert math.isnan(alarm_share(np.array([np.nan]), calibrate(whole)))


def test_a_class_without_logits_is_one_sentence() -> None:
    pictures = (Picture(Path("a"), 0, "s"), Picture(Path("a"), 1, "s"))
    with pytest.raises(ModelError, match="no finite logits of generated pictures"):
        calibrate(Evaluation(pictures, {"x": np.array([1.0, np.nan])}))


def test_an_odd_camera_shows_only_where_it_is_left_out() -> None:
    rng = np.random.default_rng(0)
    centres = {(0, "a"): 0.0, (0, "b"): 0.0, (0, "odd"): 3.0, (1, "g"): 4.0, (1, "h"): 4.0}
    pictures = tuple(Picture(Path("x"), *key) for key in centres for _ in range(100))
    logits = np.concatenate([rng.normal(centre, 1.0, 100) for centre in centres.values()])
    evaluation = Evaluation(pictures, {"x": logits})
    crossed = cross_fit(evaluation, evaluation)
    assert alarm_share(evaluation.of_label("x", 0), calibrate(evaluation)) <= 0.05
    assert crossed.alarms["x"]["odd"].mean() > 0.8
    assert crossed.alarms["x"]["a"].mean() < 0.02
    shares = share_estimate(crossed.alarms["x"], 0)
    assert shares is not None and shares[0] > 0.25 and shares[2] > 0.8
    found = share_estimate(crossed.found["x"], 0)
    assert found is not None and found[1] <= found[0] <= found[2]


def test_sources_may_count_the_same_and_some_be_allowed_more() -> None:
    # A large source of low logits and a small one of high ones.
    rng = np.random.default_rng(0)
    centres = {(0, "many"): (900, 0.0), (0, "few"): (100, 2.0), (1, "g"): (500, 5.0)}
    pictures = tuple(Picture(Path("x"), *key) for key, (n, _) in centres.items() for _ in range(n))
    logits = np.concatenate([rng.normal(centre, 1.0, n) for n, centre in centres.values()])
    evaluation = Evaluation(pictures, {"x": logits})

    def shares(calibration: Calibration) -> list[float]:
        names = ("many", "few")
        return [alarm_share(evaluation.of_source("x", 0, name), calibration) for name in names]

    pictures_alike, sources_alike = calibrate(evaluation), calibrate(evaluation, by_source=True)
    assert np.mean(shares(sources_alike)) == pytest.approx(0.05, abs=0.01)
    assert np.mean(shares(pictures_alike)) > 0.1
    lenient = calibrate(evaluation, by_source=True, shares={"few": 0.3})
    assert shares(lenient) == pytest.approx([0.0, 0.3], abs=0.011)
    assert lenient.threshold < sources_alike.threshold


def test_one_source_alone_cannot_be_left_out() -> None:
    reals, fakes = _gaussians(50, 50)
    pictures = tuple(Picture(Path("a"), i // 50, "s") for i in range(100))
    evaluation = Evaluation(pictures, {"x": np.concatenate([reals, fakes])})
    crossed = cross_fit(evaluation, evaluation)
    assert (
        share_estimate(crossed.alarms["x"], 0) is None
        and share_estimate(crossed.found["x"], 0) is None
    )


def test_the_threshold_alone_holds_for_the_share_and_for_a_single_verdict() -> None:
    evaluation = made_evaluation(np.random.default_rng(0), generators=0)
    before = Calibration(temperature=2.0, bias=0.3)
    found = with_threshold(before, evaluation, 0.1)
    assert (found.temperature, found.bias) == (2.0, 0.3)
    logits = evaluation.of_label("untouched", 0)
    called = [judge_once(found, float(logit)).state == "fake" for logit in logits]
    assert sum(called) == int(0.1 * len(logits)) == round(alarm_share(logits, found) * len(logits))


def test_photographs_at_the_end_of_the_scale_are_told() -> None:
    evaluation = made_evaluation(np.random.default_rng(0), generators=0)
    with pytest.raises(ModelError, match="Calibrate with generated pictures as well"):
        with_threshold(Calibration(bias=-90.0), evaluation)


def test_a_manifest_gets_three_figures_for_each_degradation_and_five_with_a_cross_fit() -> None:
    evaluation = made_evaluation(np.random.default_rng(0), cameras=2, generators=2, gap=3.0)
    found = figures(evaluation, Calibration(bias=1.5), view="crops of 32 px")
    assert [f.metric for f in found] == [MEAN_AUC, ABOVE, FOUND]
    assert found[0].value == pytest.approx(evaluation.mean_auc(["untouched"]), abs=1e-4)
    assert found[0].data == "validation pictures (s00, s01 and s10, s11), crops of 32 px"
    crossed = figures(evaluation, Calibration(bias=1.5), cross_fit(evaluation, evaluation))
    assert len(crossed) == 5 and crossed[3].metric == UNSEEN_ABOVE


def test_many_sources_are_counted() -> None:
    evaluation = made_evaluation(np.random.default_rng(0), cameras=13, generators=2)
    assert evaluation.describe() == "13 sources of photographs and s10, s11"


def test_what_is_not_defined_is_left_out() -> None:
    evaluation = made_evaluation(np.random.default_rng(0), generators=0)
    assert [f.metric for f in figures(evaluation, Calibration())] == [ABOVE]
