from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.manifest import Calibration
from tests.training.evaluation.made import made_evaluation
from training.evaluation import Evaluation
from training.evaluation.metrics import (
    AP,
    AUC,
    MEAN,
    METRICS,
    difference,
    estimate,
    measure,
    resample,
    share_estimate,
    two_stage,
)

CALIBRATION = Calibration(bias=0.5)


def test_pictures_are_drawn_as_often_as_their_source() -> None:
    drawn, counts = two_stage([3, 5], np.random.default_rng(0), 200)
    assert (counts.sum(axis=1) == 2).all()
    assert (drawn[0].sum(axis=1) == 3 * counts[:, 0]).all()
    assert (drawn[1].sum(axis=1) == 5 * counts[:, 1]).all()
    assert (counts[:, 0] == 0).any() and (counts[:, 0] == 2).any()


def test_values_are_those_of_each_generator_and_their_mean() -> None:
    evaluation = made_evaluation(np.random.default_rng(0), generators=3)
    found = resample(evaluation, "untouched", CALIBRATION, seed=0, draws=20)
    reals = evaluation.of_label("untouched", 0)
    for name in evaluation.source_names(1):
        fakes = evaluation.of_source("untouched", 1, name)
        point = {m: float(x[0]) for m, x in measure(reals, fakes, CALIBRATION).items()}
        assert found.values[name] == pytest.approx(point)
    assert found.values[MEAN][AUC] == pytest.approx(evaluation.mean_auc(["untouched"]))


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    evaluation = made_evaluation(np.random.default_rng(0))
    found = [
        resample(evaluation, "untouched", CALIBRATION, seed, 50).estimate(MEAN, AUC)
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_a_large_set_is_measured_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = made_evaluation(np.random.default_rng(0))
    whole = resample(evaluation, "untouched", CALIBRATION, seed=0, draws=20)
    monkeypatch.setattr("training.evaluation.metrics._AT_ONCE", 96 * 7)
    found = resample(evaluation, "untouched", CALIBRATION, seed=0, draws=20)
    for metric in METRICS:
        np.testing.assert_array_equal(found.draws[MEAN][metric], whole.draws[MEAN][metric])


def test_intervals_cover_the_truth_where_sources_differ() -> None:
    # The mean AUC over many sources; pictures alone would cover it far less often.
    rng = np.random.default_rng(5)
    truth = float(np.mean([_mean_auc(made_evaluation(rng, 40, 40)) for _ in range(20)]))
    hits = {True: 0, False: 0}
    repeats = 60
    for repeat in range(repeats):
        evaluation = made_evaluation(rng, 10, 10)
        for by_source in hits:
            found = resample(
                evaluation if by_source else _one_source(evaluation),
                "untouched",
                CALIBRATION,
                repeat,
                200,
            ).estimate(MEAN, AUC)
            assert found is not None
            hits[by_source] += found[1] <= truth <= found[2]
    assert hits[True] / repeats >= 0.85
    assert hits[False] / repeats < hits[True] / repeats - 0.1


def test_the_paired_test_is_symmetric_and_sees_a_clear_difference() -> None:
    good = made_evaluation(np.random.default_rng(0), gap=3.0, between=0.2)
    noise = np.random.default_rng(1).normal(0, 1, len(good.pictures))
    bad = Evaluation(good.pictures, {"untouched": noise})
    a, b = (resample(e, "untouched", CALIBRATION, 0, 300) for e in (good, bad))
    forth, back = difference(a, b), difference(b, a)
    assert forth is not None and back is not None
    assert forth.p == back.p == pytest.approx(2 / 301)
    assert forth.estimate == pytest.approx(
        (-back.estimate[0], -back.estimate[2], -back.estimate[1])
    )
    assert forth.estimate[1] > 0.2
    same = difference(a, a, metric=AP)
    assert same is not None and same.p == 1.0 and same.estimate == (0.0, 0.0, 0.0)


def test_models_that_differ_by_chance_get_a_large_p() -> None:
    rng = np.random.default_rng(3)
    first = made_evaluation(rng)
    jitter = first.logits["untouched"] + rng.normal(0, 0.3, len(first.pictures))
    other = Evaluation(first.pictures, {"untouched": jitter})
    a, b = (resample(e, "untouched", CALIBRATION, 0, 300) for e in (first, other))
    found = difference(a, b)
    assert found is not None and found.p > 0.05
    assert found.estimate[1] < 0 < found.estimate[2]


def test_shares_resample_sources() -> None:
    flags = {"a": np.ones(50, bool), "b": np.zeros(50, bool)}
    found = share_estimate(flags, seed=0)
    assert found is not None and found == (0.5, 0.0, 1.0)
    none = share_estimate({"a": np.zeros(24, bool)}, seed=0)
    assert none == pytest.approx((0.0, 0.0, 0.138), abs=1e-3)  # Wilson: z² / (n + z²)
    assert share_estimate({"a": np.zeros(0, bool)}, seed=0) is None
    assert estimate(float("nan"), np.zeros(3)) is None


def _mean_auc(evaluation: Evaluation) -> float:
    return evaluation.mean_auc(["untouched"])


def _one_source(evaluation: Evaluation) -> Evaluation:
    pictures = tuple(replace(p, source="one") for p in evaluation.pictures)
    return Evaluation(pictures, evaluation.logits)
