"""Dense distillation: whole patch maps of any two grids, and a share of the labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import TeachingConfig
from training.methods.distill import Distillation, difference
from training.methods.geometry import aligned
from training.models import PatchModel


class DenseDistillation(Distillation):
    """The student's patch map comes to be its teachers', aligned with it."""

    def lesson(self, shown: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
        """See `dense_loss`."""
        return dense_loss(self.model, self.teachers, shown, clean, labels, self.teaching)


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
        clean: what the teachers see, likewise; may be the same.
        labels: float32 [N]; real 0, fake 1.
        config: weight and form of the loss.
    """
    patches = student.patch_logits(shown).float()
    differences = []
    for teacher in teachers:
        with torch.no_grad():
            target = teacher.patch_logits(clean).float()
        with torch.autocast(shown.device.type, enabled=False):
            theirs, ours = aligned(target, teacher.grid, patches, student.grid)
        differences.append(difference(ours, theirs, config))
    of_map = torch.stack(differences).mean()
    if config.weight == 1:
        return of_map
    of_label = F.binary_cross_entropy_with_logits(student.pooled(patches), labels)
    return config.weight * of_map + (1 - config.weight) * of_label
