"""Training on faces: a ResNet-18 that tells real faces from swapped and re-enacted ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from edge.errors import ModelError
from training.checkpoint import Card, save_checkpoint
from training.evaluation import Logits, auc
from training.faces.sets import FaceItem
from training.methods.base import Batch, Figures, Method, model_input
from training.models.resnet18 import ResNet18
from training.settings import LoopSettings

AUC, BALANCED, LOSS = "auc", "balanced_accuracy", "loss"
"""Figures of each validation set; `base/auc` in the log."""

SetFigures = dict[str, dict[str, float]]
"""Validation set → measure → value."""


class FaceTraining(Method):
    """The cross-entropy of the two classes, judged by the mean AUC over the validation sets.

    Args:
        model: what is trained.
        settings: optimiser, schedule and precision.
        val: name → faces to judge on, in the order in which the data module gives them.
        card: of the model, without calibration and figures.

    Attributes:
        logits: of the last validation, by set.
        sets: figures of the last validation.
    """

    model: ResNet18

    def __init__(
        self,
        model: ResNet18,
        settings: LoopSettings,
        val: Mapping[str, Sequence[FaceItem]],
        card: Card,
    ) -> None:
        super().__init__(model, settings)
        self._val, self._card = val, card
        self.logits: dict[str, Logits] = {}
        self.sets: SetFigures = {}

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of a batch of faces."""
        logits = self.model.class_logits(model_input(batch["frames"])).float()
        return F.cross_entropy(logits, batch["label"].long())

    def validation_items(self, rank: int, processes: int) -> Iterable[Batch]:
        """The data module gives them, all of them to each process."""
        raise NotImplementedError

    def judge(self, item: Batch) -> Mapping[int, Sequence[float]]:
        """The logits of a batch of faces, which come in their order."""
        logits = self.model(model_input(item["frames"])).double().tolist()
        return {len(self.rows) + place: [logit] for place, logit in enumerate(logits)}

    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """Mean AUC over the sets, and the figures of each of them."""
        counts = [len(faces) for faces in self._val.values()]
        parts = np.split(logits[:, 0], np.cumsum(counts)[:-1])
        self.logits = dict(zip(self._val, parts, strict=True))
        self.sets = {name: measured(self._val[name], x) for name, x in self.logits.items()}
        flat = {f"{name}/{key}": x for name, set_ in self.sets.items() for key, x in set_.items()}
        return float(np.mean([set_[AUC] for set_ in self.sets.values()])), flat

    def save(self, path: Path) -> None:
        """Write the model with its card."""
        save_checkpoint(path, self.model, self._card)


def measured(faces: Sequence[FaceItem], logits: Logits) -> dict[str, float]:
    """Figures of faces of both labels.

    Returns:
        The area under the ROC curve of the logits; the mean of the shares of real and of fake
        faces that lie on their side of 0, which is what the same area gives where it is taken
        of predictions instead of logits; and the mean cross-entropy.

    Raises:
        ModelError: a logit is no finite number.
    """
    if not np.isfinite(logits).all():
        raise ModelError(
            "the logit of a validation face is no finite number. Train again, at a lower rate."
        )
    labels = np.array([face.label for face in faces])
    reals, fakes = logits[labels == 0], logits[labels == 1]
    return {
        AUC: auc(reals, fakes),
        BALANCED: float(((reals <= 0).mean() + (fakes > 0).mean()) / 2),
        LOSS: float((np.logaddexp(0, logits) - labels * logits).mean()),
    }
