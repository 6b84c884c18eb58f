"""Fit a linear head to mean features, and put it into a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

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


def fit_head(
    labelled: Samples | None, pairs: Samples | None, share: float, strength: float
) -> Head:
    """Ridge-penalised logistic regression on standardised features.

    Args:
        labelled: crops of labelled pictures; None where there are only pairs.
        pairs: both sides of each pair; None for none.
        share: of the loss that pairs make up, where there are both.
        strength: C of the penalty, in scikit-learn's sense.
    """
    parts = list(_weighted(labelled, pairs, share))
    features = np.concatenate([part.features for part, _ in parts]).astype(np.float64)
    labels = np.concatenate([part.labels for part, _ in parts])
    weight = np.concatenate([np.full(len(part.labels), each) for part, each in parts])
    centre, spread = features.mean(0), features.std(0) + LEAST_SPREAD
    regression = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS)
    regression.fit((features - centre) / spread, labels, sample_weight=weight)
    slope: Floats = regression.coef_[0] / spread
    return Head(slope, float(regression.intercept_[0] - centre @ slope))


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
