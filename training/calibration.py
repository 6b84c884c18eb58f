"""From logits of known pictures to a score that means P(fake), and to a threshold.

A threshold fitted to photographs lets through the share of them that it was told to, and says
nothing of the next camera. `cross_fit` asks instead what it does to a source that it has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.errors import ModelError
from edge.manifest import Calibration
from training.evaluation import Evaluation, Logits
from training.evaluation.bootstrap import Estimate, share_estimate

Flags = npt.NDArray[np.bool_]

Fit = Callable[[Evaluation, float], Calibration]
"""From logits and a share of false alarms to a calibration."""

FALSE_ALARMS = 0.05
MOST_SCORE = 0.999
NEWTON_STEPS = 50
RIDGE = 1e-4
"""Keeps the slope finite where the classes separate without error."""


def calibrate(evaluation: Evaluation, false_alarms: float = FALSE_ALARMS) -> Calibration:
    """Fit temperature and bias on all degradations together, and the threshold on the worst one.

    Args:
        evaluation: of pictures that were not trained on; those without a finite logit under every
            degradation are passed over.
        false_alarms: share of the photographs that may score above the threshold, under each
            degradation; 0 to less than 1.

    Raises:
        ModelError: a class has no finite logit, or the logits do not tell the classes apart.
    """
    evaluation = evaluation.finite()
    _require_both(evaluation)
    reals = np.concatenate([evaluation.of_label(name, 0) for name in evaluation.logits])
    fakes = np.concatenate([evaluation.of_label(name, 1) for name in evaluation.logits])
    temperature, bias = fit_platt(reals, fakes)
    limit = max(
        threshold_logit(evaluation.of_label(name, 0), false_alarms) for name in evaluation.logits
    )
    score = Calibration(temperature=temperature, bias=bias).score(limit)
    return Calibration(temperature=temperature, bias=bias, threshold=min(score, MOST_SCORE))


def with_threshold(
    calibration: Calibration, evaluation: Evaluation, false_alarms: float = FALSE_ALARMS
) -> Calibration:
    """Move the threshold alone, for which photographs are enough.

    Args:
        calibration: whose temperature and bias stay.
        evaluation: of photographs; generated pictures, and those without a finite logit under
            every degradation, are passed over.
        false_alarms: as of `calibrate`.

    Raises:
        ModelError: no finite logit, or too many photographs score too high for any threshold.
    """
    evaluation = evaluation.finite()
    if not evaluation.source_names(0):
        raise ModelError("no finite logits of photographs. Expected some that the model can judge.")
    limit = max(
        threshold_logit(evaluation.of_label(name, 0), false_alarms) for name in evaluation.logits
    )
    score = calibration.score(limit)
    if score > MOST_SCORE:
        raise ModelError(
            f"more than {false_alarms:.3g} of the photographs score above {MOST_SCORE}, where no "
            "threshold can part them from anything. Calibrate with generated pictures as well."
        )
    # One step above, as a verdict on a single picture counts a score at the threshold as well.
    threshold = max(math.nextafter(score, 1.0), 1 - MOST_SCORE)
    return calibration.model_copy(update={"threshold": threshold})


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
    """A logit that at most a share `false_alarms` of the photographs lies above.

    It lies midway between two photographs, so that the last bits of another runtime move none of
    them across; where none may lie above, it is the highest itself.
    """
    ordered = np.sort(reals)
    last_below = len(ordered) - 1 - math.floor(false_alarms * len(ordered))
    return float(ordered[last_below : last_below + 2].mean())


def alarm_share(logits: Logits, calibration: Calibration) -> float:
    """Share of the finite logits whose score is above the threshold; NaN where there is none."""
    flags = _alarms(logits[np.isfinite(logits)], calibration)
    return float(flags.mean()) if len(flags) else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class CrossFit:
    """What a fit does to sources that it has not seen.

    Attributes:
        alarms: degradation → photograph source → whether each of its pictures scores above the
            threshold that was fitted without that source.
        found: the same per generator, the whole fit without it.
    """

    alarms: Mapping[str, Mapping[str, Flags]]
    found: Mapping[str, Mapping[str, Flags]]

    def false_alarms(self, column: str, seed: int = 0) -> Estimate | None:
        """Share of all photographs with an interval that resamples sources and pictures."""
        return share_estimate(self.alarms[column], seed)

    def found_share(self, column: str, seed: int = 0) -> Estimate | None:
        """Share of all generated pictures with an interval that resamples generators too."""
        return share_estimate(self.found[column], seed)


def cross_fit(
    fitted: Evaluation,
    judged: Evaluation,
    false_alarms: float = FALSE_ALARMS,
    fit: Fit = calibrate,
) -> CrossFit:
    """Leave each source out of the fit in turn, and judge its pictures by that fit.

    Args:
        fitted: under the degradations that `calibrate` is given.
        judged: the same pictures under all that are reported.
        false_alarms: as of `calibrate`.
        fit: what is done without a source.

    Returns:
        Flags of the sources that could be left out; empty for a class of one source alone.

    Raises:
        ModelError: no fit without one of the sources.
    """
    alarms, found = (
        _held_out(fitted, judged, label, lambda rest: fit(rest, false_alarms))
        if len(fitted.source_names(label)) > 1
        else {}
        for label in (0, 1)
    )
    return CrossFit(*(_by_column(judged, flags) for flags in (alarms, found)))


def _held_out(
    fitted: Evaluation, judged: Evaluation, label: int, fit: Callable[[Evaluation], Calibration]
) -> dict[str, dict[str, Flags]]:
    held: dict[str, dict[str, Flags]] = {}
    for source in fitted.source_names(label):
        try:
            calibration = fit(fitted.without_source(label, source))
        except ModelError as error:
            raise ModelError(f"Without {source}: {error}") from error
        held[source] = {}
        for column in judged.logits:
            logits = judged.of_source(column, label, source)
            held[source][column] = _alarms(logits[np.isfinite(logits)], calibration)
    return held


def _by_column(
    judged: Evaluation, held: Mapping[str, Mapping[str, Flags]]
) -> dict[str, dict[str, Flags]]:
    return {
        column: {source: flags[column] for source, flags in held.items()}
        for column in judged.logits
    }


def _alarms(logits: Logits, calibration: Calibration) -> Flags:
    scores = np.array([calibration.score(float(x)) for x in logits], dtype=np.float64)
    return scores > calibration.threshold


def _require_both(evaluation: Evaluation) -> None:
    for label, word in enumerate(("photographs", "generated pictures")):
        if not evaluation.source_names(label):
            raise ModelError(
                f"no finite logits of {word}, so that nothing can be calibrated. Expected pictures "
                "of both classes that the model can judge."
            )


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
