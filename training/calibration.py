"""From logits of known pictures to a score that means P(fake), and to a threshold.

A threshold fitted to photographs passes the share of them that it was asked for, and says nothing
of the next camera. `cross_fit` measures instead what it does to a source that it has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from edge.errors import ModelError
from edge.manifest import Calibration, Figure
from training.evaluation import Evaluation, Logits
from training.evaluation.metrics import Flags, called, share_estimate

Fit = Callable[[Evaluation, float], Calibration]
"""From logits and a share of false alarms to a calibration."""

FALSE_ALARMS = 0.05
MOST_SCORE = 0.999
RIDGE = 1e-4
"""Keeps the slope finite where the classes separate without error."""

MEAN_AUC = "mean auc per generator"
ABOVE = "photographs above the threshold"
FOUND = "generated pictures above it"
UNSEEN_ABOVE = "photographs above a threshold fitted without their source"
UNSEEN_FOUND = "generated pictures above one fitted without their generator"
AT_THRESHOLD = frozenset({ABOVE, FOUND, UNSEEN_ABOVE, UNSEEN_FOUND})
"""Measures that another threshold makes untrue."""


def calibrate(
    evaluation: Evaluation,
    false_alarms: float = FALSE_ALARMS,
    by_source: bool = False,
    shares: Mapping[str, float] | None = None,
) -> Calibration:
    """Fit temperature and bias on all degradations together, and the threshold on the worst one.

    Args:
        evaluation: of pictures that were not trained on; those without a finite logit under every
            degradation are passed over.
        false_alarms: share of the photographs that may score above the threshold, under each
            degradation; 0 to less than 1.
        by_source: each source of a label counts the same, however many pictures it has.
        shares: photograph source → another share; sources of one share are counted apart.

    Raises:
        ModelError: a class has no finite logit, or the logits do not separate the classes.
    """
    evaluation = evaluation.finite()
    for label, word in enumerate(("photographs", "generated pictures")):
        if not evaluation.source_names(label):
            raise ModelError(
                f"no finite logits of {word}, so that nothing can be calibrated. Expected pictures "
                "of both classes that the model can judge."
            )
    sides = [
        [_weighted(evaluation, column, label, by_source) for column in evaluation.logits]
        for label in (0, 1)
    ]
    (reals, real_weights), (fakes, fake_weights) = (
        map(np.concatenate, zip(*side, strict=True)) for side in sides
    )
    temperature, bias = fit_platt(reals, fakes, real_weights, fake_weights)
    apart: dict[float, set[str]] = {}
    for name in evaluation.source_names(0):
        apart.setdefault((shares or {}).get(name, false_alarms), set()).add(name)
    limit = max(_limit(evaluation, share, by_source, names) for share, names in apart.items())
    score = Calibration(temperature=temperature, bias=bias).score(limit)
    return Calibration(temperature=temperature, bias=bias, threshold=min(score, MOST_SCORE))


def with_threshold(
    calibration: Calibration, evaluation: Evaluation, false_alarms: float = FALSE_ALARMS
) -> Calibration:
    """Move the threshold alone, for which photographs are enough; arguments as of `calibrate`.

    Raises:
        ModelError: no finite logit, or too many photographs score too high for any threshold.
    """
    evaluation = evaluation.finite()
    if not evaluation.source_names(0):
        raise ModelError("no finite logits of photographs. Expected some that the model can judge.")
    score = calibration.score(_limit(evaluation, false_alarms))
    if score > MOST_SCORE:
        raise ModelError(
            f"more than {false_alarms:.3g} of the photographs score above {MOST_SCORE}, where no "
            "threshold can separate them from anything. Calibrate with generated pictures as well."
        )
    # One step above, as a verdict on a single picture counts a score at the threshold as well.
    threshold = max(math.nextafter(score, 1.0), 1 - MOST_SCORE)
    return calibration.model_copy(update={"threshold": threshold})


def fit_platt(
    reals: Logits,
    fakes: Logits,
    real_weights: Logits | float = 1.0,
    fake_weights: Logits | float = 1.0,
) -> tuple[float, float]:
    """Temperature and bias that make sigmoid((logit − bias) / temperature) likeliest.

    Platt, Probabilistic Outputs for Support Vector Machines, 1999; both classes weigh the same,
    as nothing is known of how often fakes are met. Within a class pictures count by their weights.

    Raises:
        ModelError: the likeliest temperature is not positive.
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    logits = np.concatenate([reals, fakes])
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    sides = ((real_weights, reals), (fake_weights, fakes))
    weights = np.concatenate([np.broadcast_to(each, x.shape) for each, x in sides])
    weights = weights / np.bincount(labels, weights)[labels] / 2
    # Standardised, so that one ridge serves logits of any size.
    centre, spread = float(logits.mean()), float(logits.std()) + 1e-12
    regression = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-8)
    regression.fit(((logits - centre) / spread)[:, None], labels, weights)
    slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if slope <= 0:
        raise ModelError(
            "the logits of the generated pictures are not above those of the photographs, so that "
            "no calibration fits. Train longer, or on other pictures."
        )
    return spread / slope, centre - intercept * spread / slope


def threshold_logit(reals: Logits, false_alarms: float, weights: Logits | None = None) -> float:
    """A logit that at most a share `false_alarms` of the photographs lies above.

    It lies midway between two photographs, so that the last bits of another runtime move none of
    them across; where none may lie above, it is the highest itself.
    """
    order = np.argsort(reals, kind="stable")
    counts = np.ones(len(reals)) if weights is None else weights[order]
    above = counts.sum() - np.cumsum(counts)
    last_below = int(np.argmax(above <= false_alarms * counts.sum() * (1 + 1e-12)))
    return float(reals[order][last_below : last_below + 2].mean())


def alarm_share(logits: Logits, calibration: Calibration) -> float:
    """Share of the finite logits whose score is above the threshold; NaN where there is none."""
    flags = called(logits[np.isfinite(logits)], calibration)
    return float(flags.mean()) if len(flags) else math.nan


class CrossFit(NamedTuple):
    """What a fit does to sources that it has not seen.

    Attributes:
        alarms: degradation → photograph source → whether each of its pictures scores above the
            threshold that was fitted without that source.
        found: the same per generator, the whole fit without it.
    """

    alarms: Mapping[str, Mapping[str, Flags]]
    found: Mapping[str, Mapping[str, Flags]]


def cross_fit(
    fitted: Evaluation,
    judged: Evaluation,
    false_alarms: float = FALSE_ALARMS,
    fit: Fit = calibrate,
) -> CrossFit:
    """Leave each source out of the fit in turn, and judge its pictures by that fit.

    Args:
        fitted: under the degradations that `fit` is given.
        judged: the same pictures under all that are reported.
        false_alarms: as of `calibrate`.
        fit: what is done without a source.

    Returns:
        Flags of the sources that could be left out; empty for a class of one source alone.

    Raises:
        ModelError: no fit without one of the sources.
    """
    flags: list[dict[str, dict[str, Flags]]] = []
    for label in (0, 1):
        sources = fitted.source_names(label)
        flags.append({column: {} for column in judged.logits})
        for source in sources if len(sources) > 1 else ():
            try:
                calibration = fit(fitted.without_source(label, source), false_alarms)
            except ModelError as error:
                raise ModelError(f"Without {source}: {error}") from error
            for column in judged.logits:
                logits = judged.of_source(column, label, source)
                flags[label][column][source] = called(logits[np.isfinite(logits)], calibration)
    return CrossFit(*flags)


def figures(
    evaluation: Evaluation,
    calibration: Calibration,
    crossed: CrossFit | None = None,
    view: str = "",
) -> tuple[Figure, ...]:
    """What a card and a manifest say of quality, degradation by degradation.

    Args:
        evaluation: of the pictures that the figures are measured on.
        calibration: whose threshold is counted at.
        crossed: what the fit does to sources that it has not seen.
        view: what the model saw of each picture, for people; "" for all of it.
    """
    data = f"validation pictures ({evaluation.describe()}){f', {view}' if view else ''}"
    alarms, found = crossed or CrossFit({}, {})
    rows = []
    for column in dict.fromkeys((*evaluation.logits, *alarms)):
        if column in evaluation.logits:
            shares = [alarm_share(evaluation.of_label(column, x), calibration) for x in (0, 1)]
            rows.append((column, MEAN_AUC, evaluation.mean_auc(column)))
            rows += [(column, ABOVE, shares[0]), (column, FOUND, shares[1])]
        for metric, flags in ((UNSEEN_ABOVE, alarms), (UNSEEN_FOUND, found)):
            share = share_estimate(flags.get(column, {}), 0)
            rows.append((column, metric, share[0] if share else math.nan))
    return tuple(
        Figure(data=data, degradation=column, metric=metric, value=round(value, 4))
        for column, metric, value in rows
        if math.isfinite(value)
    )


def _limit(
    evaluation: Evaluation,
    false_alarms: float,
    by_source: bool = False,
    names: set[str] | None = None,
) -> float:
    """The threshold's logit under the worst of the degradations."""
    sides = (_weighted(evaluation, column, 0, by_source, names) for column in evaluation.logits)
    return max(threshold_logit(logits, false_alarms, weights) for logits, weights in sides)


def _weighted(
    evaluation: Evaluation,
    column: str,
    label: int,
    by_source: bool,
    names: set[str] | None = None,
) -> tuple[Logits, Logits]:
    """The logits of a label's sources, or of those that are named, and how much each counts."""
    sources = evaluation.by_source(column, label)
    chosen = [x for name, x in sources.items() if names is None or name in names]
    weights = [np.full(len(x), 1 / len(x) if by_source else 1.0) for x in chosen]
    return np.concatenate(chosen), np.concatenate(weights)
