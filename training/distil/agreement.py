"""How much a student's patch map is like its teacher's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from edge.sources.images import read_image
from edge.types import FloatArray
from training.data.crops import normalised
from training.data.folders import Picture
from training.distil.geometry import aligned
from training.models import PatchModel
from training.validation import View


@torch.no_grad()
def correlation(
    student: PatchModel,
    teachers: Sequence[PatchModel],
    pictures: Sequence[Picture],
    view: View,
    on_picture: Callable[[], None] = lambda: None,
) -> float:
    """Pearson's correlation of the aligned patch logits over all places of untouched pictures.

    Args:
        student: on any device; left in the mode that it came in.
        teachers: on the same device, in evaluation mode; the mean of their correlations is given.
        pictures: those too small for a teacher are passed over.
        view: what of a picture is seen.
        on_picture: called after each picture.

    Returns:
        −1..1; 0 where a map is constant, or no picture is large enough.
    """
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    seen: list[list[FloatArray]] = [[] for _ in teachers]
    try:
        for picture in pictures:
            crop = normalised(view.of(read_image(picture.path)), device)[None]
            ours = student.patch_logits(crop)
            for teacher, maps in zip(teachers, seen, strict=True):
                if min(crop.shape[-2:]) >= teacher.grid.smallest_input():
                    pair = aligned(teacher.patch_logits(crop), teacher.grid, ours, student.grid)
                    maps.append(torch.stack(pair).flatten(1).cpu().numpy())
            on_picture()
    finally:
        student.train(was_training)
    return float(np.mean([_pearson(maps) for maps in seen]))


def _pearson(maps: Sequence[FloatArray]) -> float:
    if not maps:
        return 0.0
    rows = np.concatenate(maps, axis=1, dtype=np.float64)
    deviations = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(deviations, axis=1)
    return float(deviations[0] @ deviations[1] / norms.prod()) if norms.all() else 0.0
