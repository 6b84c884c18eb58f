"""From logits of known pictures to a score that means P(fake), and to a threshold.

A threshold fitted to photographs passes the share of them that it was asked for, and says nothing
of the next camera. `cross_fit` measures instead what it does to a source that it has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.errors import ModelError
from edge.manifest import Calibration, Figure
from training.evaluation import Evaluation, Logits
from training.evaluation.metrics import Estimate, Flags, called, share_estimate

Fit = Callable[[Evaluation, float], Calibration]
"""From logits and a share of false alarms to a calibration."""

FALSE_ALARMS = 0.05
"""Share of the photographs above the threshold, unless asked for another."""

MOST_SCORE = 0.999
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
        ModelError: a class has no finite logit, or the logits do not separate the classes.
    """
    evaluation = evaluation.finite()
    _require_both(evaluation)
    reals, fakes = (
        np.concatenate([evaluation.of_label(name, label) for name in evaluation.logits])
        for label in (0, 1)
    )
    limits = [threshold_logit(evaluation.of_label(c, 0), false_alarms) for c in evaluation.logits]
    return _calibration(*fit_platt(reals, fakes), max(limits))


def calibrate_by_source(
    evaluation: Evaluation,
    false_alarms: float = FALSE_ALARMS,
    false_alarms_of: Mapping[str, float] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Calibration:
    """As `calibrate`, each source of a label counting alike, however many pictures it has.

    Args:
        evaluation: with logits of heads that have not seen the source.
        false_alarms: mean over photograph sources of their share above the threshold.
        false_alarms_of: group → another share for the sources of that group.
        groups: photograph source → its group.

    Raises:
        ModelError: as `calibrate`.
    """
    evaluation = evaluation.finite()
    _require_both(evaluation)
    platt: list[tuple[Logits, Logits]] = []
    for label in (0, 1):
        logits = np.concatenate([evaluation.of_label(c, label) for c in evaluation.logits])
        names = [p.source for p in evaluation.pictures if p.label == label]
        platt.append((logits, np.tile(_evened(names), len(evaluation.logits))))
    groups, shares = groups or {}, false_alarms_of or {}
    parts: dict[float, dict[str, list[str]]] = {}
    for name in evaluation.source_names(0):
        group = groups.get(name, "") if groups.get(name) in shares else ""
        parts.setdefault(shares.get(group, false_alarms), {}).setdefault(group, []).append(name)
    limits = [
        _limit_by_source(evaluation, column, members, share)
        for share, by_group in parts.items()
        for members in by_group.values()
        for column in evaluation.logits
    ]
    return _calibration(*fit_platt(platt[0][0], platt[1][0], platt[0][1], platt[1][1]), max(limits))


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
            "threshold can separate them from anything. Calibrate with generated pictures as well."
        )
    # One step above, as a verdict on a single picture counts a score at the threshold as well.
    threshold = max(math.nextafter(score, 1.0), 1 - MOST_SCORE)
    return calibration.model_copy(update={"threshold": threshold})


def fit_platt(
    reals: Logits,
    fakes: Logits,
    real_weights: Logits | None = None,
    fake_weights: Logits | None = None,
) -> tuple[float, float]:
    """Temperature and bias that make sigmoid((logit − bias) / temperature) likeliest.

    Platt, Probabilistic Outputs for Support Vector Machines, 1999; both classes weigh the same,
    as nothing is known of how often fakes are met.

    Args:
        reals: finite logits.
        fakes: likewise.
        real_weights: how much each of the reals counts among them; None for alike.
        fake_weights: likewise.

    Raises:
        ModelError: the likeliest temperature is not positive.
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    logits = np.concatenate([reals, fakes])
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    sides = ((reals, real_weights), (fakes, fake_weights))
    given = [np.ones(len(x)) if w is None else w for x, w in sides]
    weights = np.concatenate([w / w.sum() / 2 for w in given])
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

    Args:
        reals: finite logits, at least one.
        false_alarms: 0 to less than 1.
        weights: how much each photograph counts; None for alike.
    """
    order = np.argsort(reals, kind="stable")
    ordered = reals[order]
    counts = np.ones(len(reals)) if weights is None else weights[order]
    above = counts.sum() - np.cumsum(counts)
    last_below = int(np.argmax(above <= false_alarms * counts.sum() * (1 + 1e-12)))
    return float(ordered[last_below : last_below + 2].mean())


def alarm_share(logits: Logits, calibration: Calibration) -> float:
    """Share of the finite logits whose score is above the threshold; NaN where there is none."""
    flags = called(logits[np.isfinite(logits)], calibration)
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


MEAN_AUC = "mean auc per generator"
ABOVE = "photographs above the threshold"
FOUND = "generated pictures above it"
UNSEEN_ABOVE = "photographs above a threshold fitted without their source"
UNSEEN_FOUND = "generated pictures above one fitted without their generator"
DIGITS = 4
AT_THRESHOLD = frozenset({ABOVE, FOUND, UNSEEN_ABOVE, UNSEEN_FOUND})
"""Measures that another threshold makes untrue."""


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
    columns = dict.fromkeys((*evaluation.logits, *(crossed.alarms if crossed else ())))
    return tuple(
        Figure(data=data, degradation=column, metric=metric, value=round(value, DIGITS))
        for column in columns
        for metric, value in _values(evaluation, calibration, crossed, column)
        if math.isfinite(value)
    )


def independent_of_threshold(known: Iterable[Figure]) -> tuple[Figure, ...]:
    """The figures that stay true whatever the threshold."""
    return tuple(figure for figure in known if figure.metric not in AT_THRESHOLD)


def _values(
    evaluation: Evaluation, calibration: Calibration, crossed: CrossFit | None, column: str
) -> Iterator[tuple[str, float]]:
    if column in evaluation.logits:
        yield MEAN_AUC, evaluation.mean_auc(column)
        yield ABOVE, alarm_share(evaluation.of_label(column, 0), calibration)
        yield FOUND, alarm_share(evaluation.of_label(column, 1), calibration)
    if crossed is not None and column in crossed.alarms:
        for metric, found in (
            (UNSEEN_ABOVE, crossed.false_alarms(column)),
            (UNSEEN_FOUND, crossed.found_share(column)),
        ):
            if found:
                yield metric, found[0]


def _calibration(temperature: float, bias: float, limit: float) -> Calibration:
    score = Calibration(temperature=temperature, bias=bias).score(limit)
    return Calibration(temperature=temperature, bias=bias, threshold=min(score, MOST_SCORE))


def _limit_by_source(
    evaluation: Evaluation, column: str, sources: Sequence[str], false_alarms: float
) -> float:
    parts = [evaluation.of_source(column, 0, name) for name in sources]
    weights = np.concatenate([np.full(len(x), 1 / len(x)) for x in parts])
    return threshold_logit(np.concatenate(parts), false_alarms, weights)


def _evened(names: Sequence[str]) -> Logits:
    _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    return (1 / counts)[inverse]


def _require_both(evaluation: Evaluation) -> None:
    for label, word in enumerate(("photographs", "generated pictures")):
        if not evaluation.source_names(label):
            raise ModelError(
                f"no finite logits of {word}, so that nothing can be calibrated. Expected pictures "
                "of both classes that the model can judge."
            )
