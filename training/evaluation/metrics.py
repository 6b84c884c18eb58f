"""Measures of one generator against photographs, for many weightings of the pictures at once.

Weighted, because a bootstrap draw is a weight for each picture: a thousand draws are then a few
cumulative sums over logits that are sorted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from edge.manifest import Calibration
from training.evaluation.measured import Logits

Weights = npt.NDArray[np.float64]
Values = Mapping[str, npt.NDArray[np.float64]]

AUC, AP, ACCURACY = "AUC", "AP", "accuracy"
ON_REAL, ON_FAKE = "accuracy on photographs", "accuracy on generated"
FALSE_ALARMS = "false alarms"
TPR_AT = MappingProxyType({"found at 1 % false alarms": 0.01, "found at 5 % false alarms": 0.05})
METRICS: tuple[str, ...] = (AUC, AP, ACCURACY, ON_REAL, ON_FAKE, *TPR_AT, FALSE_ALARMS)
"""Each 0..1. AP and accuracy depend on how many pictures each side has; the others do not."""

_SLACK = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Pictures of both labels, ordered once by falling logit.

    Attributes:
        order: index of each picture among those given.
        fake: whether it is generated, in that order.
        ends: last position of each run of equal logits.
        called: how many positions from the front score above the threshold.
    """

    order: npt.NDArray[np.intp]
    fake: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.intp]
    called: int

    @classmethod
    def of(cls, reals: Logits, fakes: Logits, calibration: Calibration) -> Ranking:
        """Rank finite logits; the weights that follow list photographs first, then generated."""
        logits = np.concatenate([reals, fakes])
        order = np.argsort(-logits, kind="stable")
        ranked = logits[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0))
        called = sum(calibration.score(float(x)) > calibration.threshold for x in ranked)
        return cls(order, order >= len(reals), ends, called)

    def measure(self, weights: Weights) -> Values:
        """Every measure for every weighting.

        AP is the mean precision over recall steps, TPR the most of the generated pictures above
        any threshold that at most the given share of the photographs lies above; both as in
        scikit-learn (`average_precision_score`, `roc_curve`), nothing interpolated.

        Args:
            weights: [draws, pictures], photographs first; not negative.

        Returns:
            Measure → [draws]; NaN where a side has no weight.
        """
        ranked = weights[:, self.order]
        found = np.cumsum(np.where(self.fake, ranked, 0), axis=1)
        alarms = np.cumsum(np.where(self.fake, 0, ranked), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._measures(_padded(found), _padded(alarms))

    def _measures(self, found: Weights, alarms: Weights) -> Values:
        fakes, reals = found[:, -1], alarms[:, -1]
        at_ends = [0, *(self.ends + 1)]
        tp, fp = found[:, at_ends], alarms[:, at_ends]
        hits, false = found[:, self.called], alarms[:, self.called]
        values = {
            AUC: _area(tp, fp) / (fakes * reals),
            AP: _average_precision(tp, fp) / fakes,
            ACCURACY: (hits + reals - false) / (fakes + reals),
            ON_REAL: (reals - false) / reals,
            ON_FAKE: hits / fakes,
            **{name: _most_found(tp, fp, share) / fakes for name, share in TPR_AT.items()},
            FALSE_ALARMS: false / reals,
        }
        defined = (fakes > 0) & (reals > 0)
        return {name: np.where(defined, value, np.nan) for name, value in values.items()}


def measure(reals: Logits, fakes: Logits, calibration: Calibration) -> dict[str, float]:
    """Every measure of finite logits, each picture counted once; NaN where a side is empty."""
    ranking = Ranking.of(reals, fakes, calibration)
    values = ranking.measure(np.ones((1, len(reals) + len(fakes))))
    return {name: float(value[0]) for name, value in values.items()}


def roc(reals: Logits, fakes: Logits) -> tuple[Weights, Weights]:
    """Shares of photographs and of generated pictures above each threshold, from (0, 0) to (1, 1).

    Both sides hold at least one finite logit.
    """
    thresholds = np.unique(np.concatenate([reals, fakes]))[::-1]
    shares = [
        1 - np.searchsorted(np.sort(side), thresholds, side="left") / len(side)
        for side in (reals, fakes)
    ]
    return np.append(0.0, shares[0]), np.append(0.0, shares[1])


def _padded(sums: Weights) -> Weights:
    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _area(tp: Weights, fp: Weights) -> Weights:
    return np.asarray((np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1])).sum(axis=1) / 2)


def _average_precision(tp: Weights, fp: Weights) -> Weights:
    gained = np.diff(tp, axis=1)
    precision = np.where(gained > 0, tp[:, 1:] / (tp[:, 1:] + fp[:, 1:]), 0)
    return np.asarray((gained * precision).sum(axis=1))


def _most_found(tp: Weights, fp: Weights, share: float) -> Weights:
    allowed = fp <= share * fp[:, -1:] + _SLACK
    return np.asarray(np.where(allowed, tp, 0).max(axis=1))
