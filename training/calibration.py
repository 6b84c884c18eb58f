"""From logits of known pictures to a score that means P(fake), and to a threshold."""

from __future__ import annotations

import math

import numpy as np

from edge.errors import ModelError
from edge.manifest import Calibration
from training.evaluation import Evaluation, Logits

FALSE_ALARMS = 0.05
MOST_SCORE = 0.999
NEWTON_STEPS = 50
RIDGE = 1e-4
"""Keeps the slope finite where the classes separate without error."""


def calibrate(evaluation: Evaluation, false_alarms: float = FALSE_ALARMS) -> Calibration:
    """Fit temperature and bias on all degradations together, and the threshold on the worst one.

    Args:
        evaluation: of pictures that were not trained on; both labels occur.
        false_alarms: share of the photographs that may score above the threshold, under each
            degradation.

    Raises:
        ModelError: the logits do not tell the classes apart at all.
    """
    reals = np.concatenate([evaluation.of_label(name, 0) for name in evaluation.logits])
    fakes = np.concatenate([evaluation.of_label(name, 1) for name in evaluation.logits])
    temperature, bias = fit_platt(reals, fakes)
    limit = max(
        threshold_logit(evaluation.of_label(name, 0), false_alarms) for name in evaluation.logits
    )
    score = Calibration(temperature=temperature, bias=bias).score(limit)
    return Calibration(temperature=temperature, bias=bias, threshold=min(score, MOST_SCORE))


def fit_platt(reals: Logits, fakes: Logits) -> tuple[float, float]:
    """Temperature and bias that make sigmoid((logit − bias) / temperature) likeliest.

    Platt, Probabilistic Outputs for Support Vector Machines, 1999; both classes weigh the same,
    as nothing is known of how often fakes are met.

    Raises:
        ModelError: the likeliest temperature is not positive.
    """
    logits = np.concatenate([reals, fakes])
    labels = np.concatenate([np.zeros(len(reals)), np.ones(len(fakes))])
    weights = np.where(labels > 0, 0.5 / len(fakes), 0.5 / len(reals))
    # Standardised, so that one ridge serves logits of any size.
    centre, spread = float(logits.mean()), float(logits.std()) + 1e-12
    slope, intercept = _logistic((logits - centre) / spread, labels, weights)
    if slope <= 0:
        raise ModelError(
            "the logits of the generated pictures are not above those of the photographs, so that "
            "no calibration fits. Train longer, or on other pictures."
        )
    return spread / slope, centre - intercept * spread / slope


def threshold_logit(reals: Logits, false_alarms: float) -> float:
    """The least logit that at most a share `false_alarms` of the photographs lies above."""
    allowed = math.floor(false_alarms * len(reals))
    return float(np.sort(reals)[len(reals) - 1 - allowed])


def alarm_share(logits: Logits, calibration: Calibration) -> float:
    """Share of the logits whose score is above the threshold."""
    return float(np.mean([calibration.score(x) > calibration.threshold for x in logits]))


def _logistic(x: Logits, labels: Logits, weights: Logits) -> tuple[float, float]:
    # Newton's method on the weighted cross-entropy of sigmoid(slope · x + intercept).
    design = np.stack([x, np.ones_like(x)], axis=1)
    line = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        likely = 0.5 + 0.5 * np.tanh(0.5 * (design @ line))
        gradient = design.T @ (weights * (likely - labels)) + RIDGE * line
        curvature = (design.T * (weights * likely * (1 - likely))) @ design + RIDGE * np.eye(2)
        line -= np.linalg.solve(curvature, gradient)
    return float(line[0]), float(line[1])
