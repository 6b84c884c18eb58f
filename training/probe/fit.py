"""Fit a linear head to mean features, and put it into a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from edge.errors import UsageError
from edge.types import FloatArray
from training.models import PatchModel
from training.probe.features import Features

Floats = npt.NDArray[np.float64]

MOST_ITERATIONS = 1000
LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """logit = features · weight + bias.

    Attributes:
        weight: float64 [channels].
        bias: of the logit.
    """

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


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What a head is fitted to.

    Attributes:
        features: float32 [N, channels].
        labels: float32 [N]; both occur.
    """

    features: Features
    labels: FloatArray


class HeadFit:
    """Fits heads to the same samples under different penalties.

    Features are standardised; then directions in which pictures of one class already differ from
    each other (content, cameras, compression) are shrunk, as they tell the classes apart on the
    training pictures alone. With `whitening` 0 this is logistic regression with a ridge; as it
    grows, it tends to linear discriminant analysis, whose within-class covariance S is whitened
    (Fisher, 1936): the features are mapped by (I + whitening·S / mean diagonal of S)^-½.

    Args:
        labelled: crops of labelled pictures; None where there are only pairs.
        pairs: both sides of each pair; None for none.

    Raises:
        UsageError: neither is there.
    """

    def __init__(self, labelled: Samples | None, pairs: Samples | None) -> None:
        first = labelled or pairs
        if first is None:
            raise UsageError("there are no samples to fit a head to. Name pictures or pairs.")
        self._labelled, self._pairs = labelled, pairs
        features = first.features.astype(np.float64)
        self._centre, self._spread = features.mean(0), features.std(0) + LEAST_SPREAD
        covariance = _within_classes((features - self._centre) / self._spread, first.labels)
        values, self._vectors = np.linalg.eigh(covariance)
        self._values: Floats = np.maximum(values, 0) / max(float(values.mean()), LEAST_SPREAD)

    def head(self, share: float, strength: float, whitening: float) -> Head:
        """Fit one head.

        Args:
            share: of the loss that pairs make up, where there are both.
            strength: C of the ridge penalty, in scikit-learn's sense.
            whitening: 0 or more.
        """
        parts = list(_weighted(self._labelled, self._pairs, share))
        shrink = self._vectors / np.sqrt(1 + whitening * self._values)
        features = np.concatenate([part.features for part, _ in parts]).astype(np.float64)
        labels = np.concatenate([part.labels for part, _ in parts])
        weight = np.concatenate([np.full(len(part.labels), each) for part, each in parts])
        regression = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS)
        regression.fit((features - self._centre) / self._spread @ shrink, labels, weight)
        slope: Floats = shrink @ regression.coef_[0] / self._spread
        return Head(slope, float(regression.intercept_[0] - self._centre @ slope))


def _within_classes(features: Floats, labels: FloatArray) -> Floats:
    # Both classes count alike, however many samples each has.
    covariances = [np.cov(features[labels == label].T) for label in (0, 1)]
    mean: Floats = (covariances[0] + covariances[1]) / 2
    return mean


def _weighted(
    labelled: Samples | None, pairs: Samples | None, share: float
) -> Iterator[tuple[Samples, float]]:
    # The weights sum to the number of labelled samples, whatever the share.
    if labelled is None or pairs is None:
        share, both = float(labelled is None), labelled or pairs
        count = len(both.labels) if both else 0
    else:
        count = len(labelled.labels)
    for part, portion in ((labelled, 1 - share), (pairs, share)):
        if part is not None and portion > 0:
            yield part, portion * count / len(part.labels)
