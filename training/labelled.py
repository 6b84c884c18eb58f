"""Training with the label of the picture: the teacher, or any patch model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import Dataset

from edge.types import Batch, FloatArray
from training.checkpoint import Card, save_checkpoint
from training.data.crops import Sample, normalised, stacked
from training.data.folders import Picture
from training.evaluation import Evaluation
from training.finish import auc_table
from training.loop import Figures, placed
from training.models import PatchModel
from training.validation import View, judge


class LabelledTraining:
    """The cross-entropy of the picture's logit, judged by the mean AUC under degradations.

    Args:
        model: what is trained.
        samples: crops with their labels.
        pictures: to validate on.
        columns: degradations that choose the best step.
        view: what of a validation picture is scored.
        card: of the model, without calibration and figures.
    """

    def __init__(
        self,
        model: PatchModel,
        samples: Dataset[Sample],
        pictures: Sequence[Picture],
        columns: Sequence[str],
        view: View,
        card: Card,
    ) -> None:
        self.model, self.samples = model, samples
        self.collate: Callable[[Sequence[Any]], Any] = stacked
        self._pictures, self._columns, self._view, self._card = pictures, columns, view, card
        self._device = torch.device("cpu")

    def prepare(self, device: torch.device) -> None:
        """Move the model."""
        self._device = device
        placed(self.model, device)

    def loss(self, batch: tuple[Batch, FloatArray]) -> Tensor:
        """Binary cross-entropy of the logits of crops, uint8 [N, H, W, 3] BGR."""
        crops = normalised(batch[0], self._device).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(batch[1]).to(self._device)
        return F.binary_cross_entropy_with_logits(self.model(crops).float(), labels)

    def validate(self, progress: Progress) -> tuple[float, Figures]:
        """Mean AUC over columns and generators, and each of them."""
        evaluation = self.evaluate(self._columns, "validation", progress)
        return evaluation.mean_auc(self._columns), {"auc": auc_table(evaluation)}

    def evaluate(self, columns: Sequence[str], title: str, progress: Progress) -> Evaluation:
        """Score the validation pictures under any columns."""
        task = progress.add_task(title, total=len(self._pictures), note="")
        try:
            return judge(
                self.model, self._pictures, columns, self._view, lambda: progress.advance(task)
            )
        finally:
            progress.remove_task(task)

    def save(self, path: Path) -> None:
        """Write the model with its card."""
        save_checkpoint(path, self.model, self._card)
