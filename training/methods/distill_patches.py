"""The published way: the teacher's logit of a 9×9 patch is what the student makes of 10×10 pixels.

Cavia et al., Real-Time Deepfake Detection in the Real-World, 2024. The teacher's preprocessing
sees the whole picture, which is then cut into patches of 9×9, 8 pixels apart; the student is shown
the raw pixels there, with one more row and column for its own preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.config import TeachingConfig
from training.methods.distill import Distillation, difference
from training.models import PatchModel

TEACHER_SIDE = 9
STUDENT_SIDE = 10


class PatchDistillation(Distillation):
    """The student judges each patch alone as its teachers judge it within the picture."""

    def lesson(self, shown: Tensor, clean: Tensor, labels: Tensor) -> Tensor:
        """See `patch_loss`; labels are not learned from."""
        return patch_loss(self.model, self.teachers, shown, clean, self.teaching)


def patch_loss(
    student: PatchModel,
    teachers: Sequence[PatchModel],
    shown: Tensor,
    clean: Tensor,
    config: TeachingConfig,
) -> Tensor:
    """The difference on patches that torch's generator draws from the whole batch.

    Args:
        student: in training mode.
        teachers: in evaluation mode, with patches of 9×9 pixels.
        shown: what the student sees, float32 [N, 3, H, W], RGB, ImageNet-normalised.
        clean: what the teachers see, likewise; may be the same.
        config: stride, number of patches and form of the loss.
    """
    places = every_patch(shown.shape, config.stride)
    if config.patches is not None:
        places = places[:, torch.randperm(places.shape[1])[: config.patches]]
    with torch.no_grad():
        target = teacher_logits(teachers, clean, config.stride, places)
    return difference(student_logits(student, shown, config.stride, places), target, config)


def every_patch(shape: torch.Size, stride: int) -> Tensor:
    """Places of all patches that have the student's 10×10 pixels.

    Args:
        shape: of the pictures, [N, C, H, W].
        stride: between neighbouring patches in pixels.

    Returns:
        int64 [3, P]: picture, row and column.
    """
    rows, columns = ((side - STUDENT_SIDE) // stride + 1 for side in shape[2:])
    axes = [torch.arange(n) for n in (shape[0], rows, columns)]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])


def cut(pictures: Tensor, side: int, stride: int, places: Tensor) -> Tensor:
    """Patches as little pictures; only those asked for are copied.

    Args:
        pictures: float [N, C, H, W].
        side: of a patch in pixels.
        stride: between neighbours in pixels.
        places: int64 [3, P], picture, row and column.

    Returns:
        float [P, C, side, side].
    """
    view = pictures.unfold(2, side, stride).unfold(3, side, stride).permute(0, 2, 3, 1, 4, 5)
    picture, row, column = places.to(pictures.device)
    return view[picture, row, column]


def teacher_logits(
    teachers: Sequence[PatchModel], pictures: Tensor, stride: int, places: Tensor
) -> Tensor:
    """The teachers' mean logit of each patch.

    Args:
        teachers: in evaluation mode, with patches of 9×9 pixels.
        pictures: float32 [N, 3, H, W], RGB, ImageNet-normalised.
        stride: between neighbouring patches in pixels; even, as NPR goes by blocks of 2×2.
        places: int64 [3, P].

    Returns:
        float32 [P].
    """
    logits = []
    for teacher in teachers:
        patches = cut(teacher.preprocess(pictures), TEACHER_SIDE, stride, places)
        maps = teacher.map_head(teacher.features(patches)).squeeze(1)
        logits.append(teacher.pooled(maps).float())
    return torch.stack(logits).mean(dim=0)


def student_logits(student: PatchModel, pictures: Tensor, stride: int, places: Tensor) -> Tensor:
    """The student's logit of each patch as a picture of its own, float32 [P]; see above."""
    patches = cut(pictures, STUDENT_SIDE, stride, places)
    logits: Tensor = student(patches.contiguous(memory_format=torch.channels_last))
    return logits.float()
