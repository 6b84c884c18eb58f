from __future__ import annotations

import numpy as np
import pytest

from edge.manifest import Calibration
from tests.training.evaluation.made import made_evaluation
from training.calibration import ABOVE, FOUND, MEAN_AUC, UNSEEN_ABOVE, cross_fit, figures


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
