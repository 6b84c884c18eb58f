"""Training with the label of the picture: the teacher, or any patch model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from training.checkpoint import Card, save_checkpoint
from training.config import TrainConfig
from training.data.folders import Picture
from training.evaluation import Evaluation, evaluate
from training.methods.base import Batch, Figures, Method, model_input
from training.models import PatchModel


class LabelTraining(Method):
    """Cross-entropy of the picture's logit; judged by the mean AUC under degradations.

    Args:
        model: what is trained.
        config: of the training.
        pictures: to validate on.
        card: of the model, without calibration and figures.
    """

    model: PatchModel

    def __init__(
        self,
        model: PatchModel,
        config: TrainConfig,
        pictures: Sequence[Picture],
        card: Card,
    ) -> None:
        super().__init__(model, config)
        self.config, self.pictures, self._card = config, pictures, card
        self._columns, self.view = config.validation.columns, config.view()

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy of the logits of crops."""
        logits = self.model(model_input(batch["frames"])).float()
        return F.binary_cross_entropy_with_logits(logits, batch["label"])

    def validation_items(self, rank: int, processes: int) -> Iterable[int]:
        """Places of this process's pictures."""
        return range(rank, len(self.pictures), processes)

    def judge(self, item: int) -> Mapping[int, Sequence[float]]:
        """The logits of one picture under each degradation; NaN where it is lost."""
        picture = self.pictures[item : item + 1]
        found = evaluate(self.model, picture, self._columns, self.view.of, on_lost=self.lose)
        return {item: [float(found.logits[name][0]) for name in self._columns]}

    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """Mean AUC over degradations and generators, and each of them."""
        columns = {name: logits[:, place] for place, name in enumerate(self._columns)}
        evaluation = Evaluation(tuple(self.pictures), columns).finite()
        aucs = {
            f"auc/{column}/{generator}": auc
            for column in self._columns
            for generator, auc in evaluation.generator_aucs(column).items()
        }
        return evaluation.mean_auc(self._columns), aucs

    def save(self, path: Path) -> None:
        """Write the model with its card."""
        save_checkpoint(path, self.model, self._card)
