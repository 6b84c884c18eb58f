"""What both ways of distillation share: teachers, the difference of logits, and agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edge.sources.images import read_image
from edge.types import FloatArray
from training.checkpoint import Card
from training.config import DistillConfig, TeachingConfig
from training.data.crops import normalised
from training.data.folders import Picture
from training.methods.base import Batch, Figures, model_input
from training.methods.geometry import aligned
from training.methods.labels import LabelTraining
from training.models import PatchModel
from training.validation import View


class Distillation(LabelTraining):
    """A student that learns its teachers' patch logits, judged by the mean AUC as any other.

    Args:
        student: what is trained.
        config: of the training.
        pictures: to validate on.
        card: of the student, without calibration and figures.
        teachers: at least one.
    """

    def __init__(
        self,
        student: PatchModel,
        config: DistillConfig,
        pictures: Sequence[Picture],
        card: Card,
        teachers: Sequence[PatchModel],
    ) -> None:
        super().__init__(student, config, pictures, card)
        self.teaching = config.teaching
        # In a tuple, so that they are no part of the checkpoint.
        self.teachers = tuple(one.eval().requires_grad_(False) for one in teachers)
        count = min(config.teaching.agreement, len(pictures))
        self._compared = [pictures[index * len(pictures) // count] for index in range(count)]

    def on_fit_start(self) -> None:
        """Bring the teachers to the student."""
        for teacher in self.teachers:
            teacher.to(self.device)
            teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # untyped

    def loss(self, batch: Batch) -> Tensor:
        """The difference to the teachers, who see the clean crops where there are such."""
        shown = model_input(batch["frames"])
        clean = model_input(batch["clean"]) if "clean" in batch else shown
        return self.lesson(shown, clean, batch["label"])

    def lesson(self, shown: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
        """The loss of what the student and what the teachers see, float32 [N, 3, H, W]."""
        raise NotImplementedError

    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """As of a training with labels, and the agreement with the teachers."""
        score, figures = super().measured(logits)
        return score, {**figures, **({"correlation": self.agreement()} if self._compared else {})}

    def agreement(self) -> float:
        """Correlation with the teachers on some validation pictures; see `correlation`."""
        return correlation(self.model, self.teachers, self._compared, self.view)


def difference(student: Tensor, teacher: Tensor, config: TeachingConfig) -> Tensor:
    """Mean difference of logits of one shape.

    The form bce is T² times the cross-entropy of the student's tempered probability against the
    teacher's, so that gradients keep their size whatever T is: Hinton, Vinyals and Dean, Distilling
    the Knowledge in a Neural Network, 2015.
    """
    if config.loss == "mse":
        return F.mse_loss(student, teacher)
    t = config.temperature
    soft = torch.sigmoid(teacher / t)
    return t * t * F.binary_cross_entropy_with_logits(student / t, soft)


@torch.no_grad()
def correlation(
    student: PatchModel, teachers: Sequence[PatchModel], pictures: Sequence[Picture], view: View
) -> float:
    """Pearson's correlation of the aligned patch logits over all places of untouched pictures.

    Args:
        student: on any device; left in the mode that it came in.
        teachers: on the same device, in evaluation mode; the mean of their correlations is given.
        pictures: those too small for a teacher are passed over.
        view: what of a picture is seen.

    Returns:
        −1..1; 0 where a map is constant, or no picture is large enough.
    """
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    maps: list[list[FloatArray]] = [[] for _ in teachers]
    for picture in pictures:
        crop = normalised(view.of(read_image(picture.path)), device)[None]
        ours = student.patch_logits(crop)
        for teacher, found in zip(teachers, maps, strict=True):
            if min(crop.shape[-2:]) >= teacher.grid.smallest_input():
                pair = aligned(teacher.patch_logits(crop), teacher.grid, ours, student.grid)
                found.append(torch.stack(pair).flatten(1).cpu().numpy())
    student.train(was_training)
    return float(np.mean([_pearson(found) for found in maps]))


def _pearson(maps: Sequence[FloatArray]) -> float:
    if not maps:
        return 0.0
    both = np.concatenate(maps, axis=1, dtype=np.float64)
    deviations = both - both.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(deviations, axis=1)
    return float(deviations[0] @ deviations[1] / norms.prod()) if norms.all() else 0.0
