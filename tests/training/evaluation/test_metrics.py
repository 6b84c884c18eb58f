from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sk  # type: ignore[import-untyped]

from edge.manifest import Calibration
from tests.training.evaluation.made import made_evaluation
from training.evaluation import Evaluation
from training.evaluation.metrics import (
    AUC,
    FALSE_ALARMS,
    FOUND,
    MEAN,
    METRICS,
    TPR_AT,
    estimate,
    measure,
    resample,
    share_estimate,
    two_stage,
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
    assert (found[FALSE_ALARMS], found[FOUND]) == (0.5, 1.0)
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
        for name, label in ((FALSE_ALARMS, 0), (FOUND, 1)):
            share = np.average(called[labels == label], weights=weight[labels == label])
            assert found[name][row] == pytest.approx(share)
        alarms, hits, _ = sk.roc_curve(
            labels, logits, sample_weight=weight, drop_intermediate=False
        )
        for name, share in TPR_AT.items():
            assert found[name][row] == pytest.approx(hits[alarms <= share + 1e-9].max())


def test_equal_logits_tell_nothing_apart() -> None:
    found = _once(np.zeros(10), np.zeros(5), Calibration())
    assert found[AUC] == 0.5
    assert found[AT_FIVE] == 0 and found[FALSE_ALARMS] == 0


@pytest.mark.parametrize(
    ("sides", "defined"), [((0, 3), {FOUND}), ((3, 0), {FALSE_ALARMS}), ((0, 0), set())]
)
def test_an_empty_side_leaves_what_the_other_one_says(
    sides: tuple[int, int], defined: set[str]
) -> None:
    found = _once(np.zeros(sides[0]), np.zeros(sides[1]), Calibration())
    assert found.keys() == set(METRICS)
    assert {name for name, x in found.items() if not math.isnan(x)} == defined


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
        assert {m: x[0] for m, x in found[name].items() if x} == pytest.approx(point)
    of_mean = found[MEAN][AUC]
    assert of_mean and of_mean[0] == pytest.approx(evaluation.mean_auc(["untouched"]))


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    evaluation = made_evaluation(np.random.default_rng(0))
    found = [
        resample(evaluation, "untouched", CALIBRATION, seed, 50)[MEAN][AUC] for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_a_large_set_is_measured_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = made_evaluation(np.random.default_rng(0))
    whole = resample(evaluation, "untouched", CALIBRATION, seed=0, draws=20)
    monkeypatch.setattr("training.evaluation.metrics._AT_ONCE", 96 * 7)
    found = resample(evaluation, "untouched", CALIBRATION, seed=0, draws=20)
    for row, figures in whole.items():
        for metric in METRICS:
            assert found[row][metric] == pytest.approx(figures[metric])


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
            )[MEAN][AUC]
            assert found is not None
            hits[by_source] += found[1] <= truth <= found[2]
    assert hits[True] / repeats >= 0.85
    assert hits[False] / repeats < hits[True] / repeats - 0.1


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
