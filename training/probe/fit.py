"""Fit a linear head to mean features, and put it into a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from edge.errors import UsageError
from training.models import PatchModel
from training.probe.features import Features

Floats = npt.NDArray[np.float64]

MOST_ITERATIONS = 1000
LEAST_SPREAD = 1e-6


class Head(NamedTuple):
    """logit = features · weight + bias; the weight float64 [channels]."""

    weight: Floats
    bias: float

    def logits(self, features: Features) -> Floats:
        """float32 [N, channels] → float64 [N]."""
        logits: Floats = features.astype(np.float64) @ self.weight + self.bias
        return logits

    def put_into(self, model: PatchModel) -> None:
        """Make it the model's head."""
        with torch.no_grad():
            model.fc.weight.copy_(torch.from_numpy(self.weight)[None])
            model.fc.bias.fill_(self.bias)


def head_of(model: PatchModel) -> Head:
    """The head that a model has."""
    weight = model.fc.weight.detach().numpy()[0].astype(np.float64)
    return Head(weight, float(model.fc.bias.detach()))


class Rows(NamedTuple):
    """What heads are fitted to.

    Attributes:
        features: float32 [N, channels].
        labels: [N], 0 or 1; both occur.
        sources: [N], names.
    """

    features: Features
    labels: npt.NDArray[np.int64]
    sources: npt.NDArray[np.str_]

    def weights(self, factors: dict[str, float]) -> Floats:
        """How much each row counts: labels alike, of a label each source alike.

        Args:
            factors: source → how much more it counts; 1 where it is not named.

        Returns:
            float64 [N], of mean 1 over those that are not 0.
        """
        weights: Floats = np.zeros(len(self.labels))
        for label in (0, 1):
            mine = self.labels == label
            names, inverse = np.unique(self.sources[mine], return_inverse=True)
            counts = np.bincount(inverse, minlength=len(names))
            each = np.array([factors.get(str(name), 1.0) for name in names]) / counts
            weights[mine] = (each / max((each * counts).sum(), LEAST_SPREAD))[inverse]
        weights *= np.count_nonzero(weights) / max(weights.sum(), LEAST_SPREAD)
        return weights


class HeadFit:
    """Fits heads to the same rows under different penalties.

    Features are standardised; then directions in which pictures of one class already differ from
    each other (content, cameras, compression) are shrunk, as they separate the classes on the
    training pictures alone. With `whitening` 0 this is logistic regression with a ridge; as it
    grows, it tends to linear discriminant analysis, whose within-class covariance S is whitened
    (Fisher, 1936): the features are mapped by (I + whitening·S / mean diagonal of S)^-½.

    Args:
        rows: what is fitted to.
        factors: see `Rows.weights`.
        start: the ridge pulls to this head; None pulls to 0.

    Raises:
        UsageError: there is no row of one of the labels that counts.
    """

    def __init__(
        self, rows: Rows, factors: dict[str, float] | None = None, start: Head | None = None
    ) -> None:
        self._rows, self._factors, self._start = rows, factors or {}, start
        weights = rows.weights(self._factors)
        if len(set(rows.labels[weights > 0].tolist())) < 2:
            raise UsageError(
                "there are no samples to fit a head to. Name pictures of both labels, of sources "
                "that count (weights) and are not late."
            )
        centre = np.average(rows.features, 0, weights).astype(np.float32)
        standard = rows.features - centre
        variance = np.einsum(
            "n,nc,nc->c", (weights / weights.sum()).astype(np.float32), standard, standard
        )
        spread = np.sqrt(variance) + np.float32(LEAST_SPREAD)
        standard /= spread
        self._centre, self._spread = centre.astype(np.float64), spread.astype(np.float64)
        values, self._vectors = np.linalg.eigh(_within_classes(standard, rows.labels, weights))
        self._values: Floats = np.maximum(values, 0) / max(float(values.mean()), LEAST_SPREAD)
        self._turned: Features = standard @ self._vectors.astype(np.float32)

    def head(
        self, strength: float, whitening: float, kept: npt.NDArray[np.bool_] | None = None
    ) -> Head:
        """Fit one head.

        Args:
            strength: C of the ridge penalty, in scikit-learn's sense.
            whitening: 0 or more.
            kept: flags of the rows that are fitted to; None for all.
        """
        shrink = 1 / np.sqrt(1 + whitening * self._values)
        weights = self._rows.weights(self._factors)
        kept = weights > 0 if kept is None else kept & (weights > 0)
        turned = self._turned[kept] * shrink.astype(np.float32)
        if self._start is not None:
            before = self._start.logits(self._rows.features[kept])
            labels = self._rows.labels[kept].astype(np.float64)
            change = _change(turned, labels, weights[kept], strength, before)
            slope = self._vectors @ (shrink * change[:-1]) / self._spread
            bias = self._start.bias + float(change[-1] - self._centre @ slope)
            return Head(self._start.weight + slope, bias)
        regression = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS)
        regression.fit(turned, self._rows.labels[kept], weights[kept])
        coefficients = regression.coef_[0].astype(np.float64)
        slope = self._vectors @ (shrink * coefficients) / self._spread
        return Head(slope, float(regression.intercept_[0] - self._centre @ slope))

    def cross_fitted(self, strength: float, whitening: float, folds: int, seed: int) -> Floats:
        """Logits of heads that were fitted without the sources that they judge, float64 [N].

        The sources of each label are dealt into parts at random.

        Raises:
            UsageError: a label has fewer sources than there are folds.
        """
        part = self._parts(folds, seed)
        logits = np.zeros(len(part))
        for fold in range(folds):
            left = part == fold
            head = self.head(strength, whitening, ~left)
            logits[left] = head.logits(self._rows.features[left])
        return logits

    def _parts(self, folds: int, seed: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng(seed)
        part = np.full(len(self._rows.labels), -1)
        for label in (0, 1):
            mine = self._rows.labels == label
            names, inverse = np.unique(self._rows.sources[mine], return_inverse=True)
            if len(names) < folds:
                raise UsageError(
                    f"folds: expected at most one for each source of a label, found {folds} for "
                    f"{len(names)}. Set folds lower, or to 0."
                )
            part[mine] = (rng.permutation(len(names)) % folds)[inverse]
        return part


def _change(
    x: Features, labels: Floats, weights: Floats, strength: float, before: Floats
) -> Floats:
    """Logistic regression of what is to be added to logits; coefficients, and last the bias."""

    def loss(values: Floats) -> tuple[float, Floats]:
        logits = before + x @ values[:-1] + values[-1]
        each = np.logaddexp(0, logits) - labels * logits
        residual = strength * weights * (expit(logits) - labels)
        slope = np.append(residual @ x + values[:-1], residual.sum())
        return float(strength * weights @ each + values[:-1] @ values[:-1] / 2), slope

    options = {"maxiter": MOST_ITERATIONS}
    start = np.zeros(x.shape[1] + 1)
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return found


def _within_classes(
    standard: Features, labels: npt.NDArray[np.int64], weights: Floats
) -> npt.NDArray[np.float64]:
    total = np.zeros((standard.shape[1],) * 2)
    for label in (0, 1):
        mine = (labels == label) & (weights > 0)
        weight = (weights[mine] / weights[mine].sum()).astype(np.float32)[:, None]
        centred = standard[mine] - (weight * standard[mine]).sum(0)
        total += (centred * weight).T @ centred / 2
    return total
