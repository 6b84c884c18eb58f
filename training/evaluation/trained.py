"""Score pictures with a network in memory, as a training does between its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge.sources.images import read_image
from training.data.folders import Picture
from training.evaluation.columns import COLUMNS
from training.evaluation.measured import Evaluation

if TYPE_CHECKING:
    from training.models import PatchModel


def evaluate(
    model: PatchModel,
    pictures: Sequence[Picture],
    columns: Sequence[str],
    on_picture: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score whole pictures under each degradation.

    Args:
        model: left in the mode that it came in.
        pictures: at least one.
        columns: names in `training.evaluation.columns.COLUMNS`.
        on_picture: called after each picture.
    """
    was_training = model.training
    model.eval()
    rows = []
    for picture in pictures:
        rows.append(_logits(model, picture, columns))
        on_picture()
    model.train(was_training)
    table = np.asarray(rows, dtype=np.float64)
    return Evaluation(tuple(pictures), {name: table[:, i] for i, name in enumerate(columns)})


def _logits(model: PatchModel, picture: Picture, columns: Sequence[str]) -> list[float]:
    # Here, so that model files are judged where torch is absent.
    import torch

    from training.data.crops import normalised

    image = read_image(picture.path)
    with torch.no_grad():
        return [float(model(normalised(COLUMNS[name](image))[None])) for name in columns]
