"""What a card and a manifest say of quality, from an evaluation and a calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from edge.manifest import Calibration, Figure
from training.calibration import CrossFit, alarm_share
from training.evaluation.measured import Evaluation

MEAN_AUC = "mean auc per generator"
FALSE_ALARMS = "photographs above the threshold"
FOUND = "generated pictures above it"
UNSEEN_ALARMS = "photographs above a threshold fitted without their source"
UNSEEN_FOUND = "generated pictures above one fitted without their generator"
DIGITS = 4
AT_THRESHOLD = frozenset({FALSE_ALARMS, FOUND, UNSEEN_ALARMS, UNSEEN_FOUND})
"""Measures that another threshold makes untrue."""


def figures(
    evaluation: Evaluation,
    calibration: Calibration,
    crossed: CrossFit | None = None,
    view: str = "",
) -> tuple[Figure, ...]:
    """Three figures for each degradation, five with a cross-fit; those not defined are left out.

    Args:
        evaluation: of the pictures that they are measured on.
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
        yield MEAN_AUC, evaluation.mean_auc([column])
        yield FALSE_ALARMS, alarm_share(evaluation.of_label(column, 0), calibration)
        yield FOUND, alarm_share(evaluation.of_label(column, 1), calibration)
    if crossed is None or column not in crossed.alarms:
        return
    alarms, found = crossed.false_alarms(column), crossed.found_share(column)
    if alarms:
        yield UNSEEN_ALARMS, alarms[0]
    if found:
        yield UNSEEN_FOUND, found[0]
