"""Score pictures with a network in memory, as a training does between its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge.sources.images import read_image
from edge.types import Image
from training.data.folders import Picture
from training.degrade import COLUMNS
from training.evaluation.record import Evaluation

if TYPE_CHECKING:
    from training.models import PatchModel


def evaluate(
    model: PatchModel,
    pictures: Sequence[Picture],
    columns: Sequence[str],
    view: Callable[[Image], Image] = lambda image: image,
    on_picture: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score pictures under each degradation.

    Args:
        model: on any device; left in the mode that it came in.
        pictures: at least one.
        columns: names in `training.degrade.COLUMNS`.
        view: what of a picture is degraded and scored; all of it unless said otherwise.
        on_picture: called after each picture.
    """
    # Here, so that model files are judged where torch is absent.
    import torch

    from training.data.crops import normalised

    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows = []
    try:
        with torch.no_grad():
            for picture in pictures:
                image = view(read_image(picture.path))
                inputs = (normalised(COLUMNS[name](image), device)[None] for name in columns)
                rows.append([float(model(pixels)) for pixels in inputs])
                on_picture()
    finally:
        model.train(was_training)
    table = np.asarray(rows, dtype=np.float64)
    return Evaluation(tuple(pictures), {name: table[:, i] for i, name in enumerate(columns)})
