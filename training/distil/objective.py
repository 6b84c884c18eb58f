"""The losses by which a student learns from its teachers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import Dataset

from edge.types import Batch, FloatArray
from training.checkpoint import Card
from training.data.crops import Sample, normalised
from training.data.folders import Picture
from training.distil.agreement import correlation
from training.distil.config import PATCHES, DistilConfig, TeachingConfig
from training.distil.geometry import aligned
from training.distil.patches import (
    every_patch,
    student_logits,
    teacher_logits,
)
from training.labelled import LabelledTraining
from training.loop import Figures, placed
from training.models import PatchModel


class Distillation(LabelledTraining):
    """A student's training by its teachers' patch logits, judged by the mean AUC as any other.

    Args:
        student: what is trained.
        teachers: in evaluation mode, without gradients; at least one.
        samples: crops with their labels; where the teacher sees clean ones, two crops in one
            array, uint8 [2, size, size, 3] BGR, degraded and clean.
        pictures: to validate on.
        config: of the training.
        card: of the student, without calibration and figures.
    """

    def __init__(
        self,
        student: PatchModel,
        teachers: Sequence[PatchModel],
        samples: Dataset[Sample],
        pictures: Sequence[Picture],
        config: DistilConfig,
        card: Card,
    ) -> None:
        columns = config.validation.columns
        super().__init__(student, samples, pictures, columns, config.view(), card)
        self._teachers, self._config = teachers, config
        self._compared = spread(pictures, config.teaching.agreement)

    def prepare(self, device: torch.device) -> None:
        """Move student and teachers."""
        super().prepare(device)
        for teacher in self._teachers:
            placed(teacher, device)

    def loss(self, batch: tuple[Batch, FloatArray]) -> Tensor:
        """The loss of a batch: crops, uint8 [N, H, W, 3] or [N, 2, H, W, 3] BGR, and labels."""
        crops, labels = batch
        two = self._config.sees_clean
        shown = self._on_device(crops[:, 0] if two else crops)
        clean = self._on_device(crops[:, 1]) if two else shown
        if self._config.teaching.way == PATCHES:
            return patch_loss(self.model, self._teachers, shown, clean, self._config.teaching)
        truth = torch.from_numpy(labels).to(self._device)
        return dense_loss(self.model, self._teachers, shown, clean, truth, self._config.teaching)

    def validate(self, progress: Progress) -> tuple[float, Figures]:
        """As of a labelled training, and the correlation with the teacher."""
        score, figures = super().validate(progress)
        if not self._compared:
            return score, figures
        return score, {**figures, "correlation": self.agreement(progress)}

    def agreement(self, progress: Progress) -> float:
        """Correlation of student and teacher on some validation pictures; see `correlation`."""
        task = progress.add_task("agreement", total=len(self._compared), note="")
        try:
            return correlation(
                self.model,
                self._teachers,
                self._compared,
                self._config.view(),
                lambda: progress.advance(task),
            )
        finally:
            progress.remove_task(task)

    def _on_device(self, crops: Batch) -> Tensor:
        return normalised(crops, self._device).contiguous(memory_format=torch.channels_last)


def patch_loss(
    student: PatchModel,
    teachers: Sequence[PatchModel],
    shown: Tensor,
    clean: Tensor,
    config: TeachingConfig,
) -> Tensor:
    """The published way, on patches that torch's generator draws from the whole batch.

    Args:
        student: in training mode.
        teachers: in evaluation mode, with patches of 9×9 pixels.
        shown: what the student sees, float32 [N, 3, H, W], RGB, ImageNet-normalised.
        clean: what the teachers see, alike; may be the same.
        config: stride, number of patches and form of the loss.
    """
    places = every_patch(shown.shape, config.stride)
    if config.patches is not None:
        places = places[:, torch.randperm(places.shape[1])[: config.patches]]
    with torch.no_grad():
        taught = teacher_logits(teachers, clean, config.stride, places)
    return difference(student_logits(student, shown, config.stride, places), taught, config)


def dense_loss(
    student: PatchModel,
    teachers: Sequence[PatchModel],
    shown: Tensor,
    clean: Tensor,
    labels: Tensor,
    config: TeachingConfig,
) -> Tensor:
    """w · difference of the aligned maps + (1 − w) · cross-entropy with the pictures' labels.

    Of several teachers, whose maps may lie differently, the mean of the differences is taken. Its
    gradient is that of the difference from their mean: squares and cross-entropies allow it.

    Args:
        student: in training mode.
        teachers: in evaluation mode, of any patch grids.
        shown: what the student sees, float32 [N, 3, H, W], RGB, ImageNet-normalised.
        clean: what the teachers see, alike; may be the same.
        labels: float32 [N]; real 0, fake 1.
        config: weight and form of the loss.
    """
    patches = student.patch_logits(shown).float()
    differences = []
    for teacher in teachers:
        with torch.no_grad():
            taught = teacher.patch_logits(clean).float()
        with torch.autocast(shown.device.type, enabled=False):
            theirs, ours = aligned(taught, teacher.grid, patches, student.grid)
        differences.append(difference(ours, theirs, config))
    of_map = torch.stack(differences).mean()
    if config.weight == 1:
        return of_map
    of_label = F.binary_cross_entropy_with_logits(student.pooled(patches), labels)
    return config.weight * of_map + (1 - config.weight) * of_label


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


def spread(pictures: Sequence[Picture], count: int) -> tuple[Picture, ...]:
    """At most so many pictures, evenly over their order, so that both labels are among them."""
    count = min(count, len(pictures))
    return tuple(pictures[index * len(pictures) // count] for index in range(count))
