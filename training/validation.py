"""Score validation pictures between the steps of a training, on its device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edge.sources.images import read_image
from edge.types import Image
from training.data.crops import centre_crop, normalised, resized
from training.data.folders import Picture
from training.degrade import COLUMNS
from training.evaluation import Evaluation
from training.models import PatchModel


@dataclass(frozen=True, slots=True)
class View:
    """What of a picture is scored.

    Attributes:
        resize: squeeze it to a square of so many pixels first; None never resizes.
        crop: then take at most so many rows and columns from its middle; None takes all.
    """

    resize: int | None = None
    crop: int | None = None

    def of(self, image: Image) -> Image:
        """The part of uint8 [H, W, 3] that is degraded and scored."""
        image = resized(image, self.resize)
        return centre_crop(image, self.crop) if self.crop else image

    def describe(self) -> str:
        """In a few words, as they follow "pictures"."""
        size = f"resized to {self.resize} px" if self.resize else "at native pixels"
        return f"{size}, {f'middle {self.crop} px' if self.crop else 'whole'}"


def limited(pictures: Sequence[Picture], per_source: int | None) -> tuple[Picture, ...]:
    """At most so many pictures of each source of each label, spread evenly over their order.

    Args:
        pictures: in any order, which is kept.
        per_source: None for all.
    """
    if per_source is None:
        return tuple(pictures)
    counts = Counter((p.label, p.source) for p in pictures)
    seen: Counter[tuple[int, str]] = Counter()
    kept = []
    for picture in pictures:
        key = (picture.label, picture.source)
        before = seen[key] * per_source // counts[key]
        seen[key] += 1
        if counts[key] <= per_source or seen[key] * per_source // counts[key] > before:
            kept.append(picture)
    return tuple(kept)


def judge(
    model: PatchModel,
    pictures: Sequence[Picture],
    columns: Sequence[str],
    view: View,
    on_picture: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score a view of each picture under each degradation.

    Args:
        model: on any device; left in the mode that it came in.
        pictures: at least one.
        columns: names in `training.degrade.COLUMNS`.
        view: what of a picture is scored; degraded after it is taken.
        on_picture: called after each picture.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows = []
    try:
        for picture in pictures:
            rows.append(_logits(model, view.of(read_image(picture.path)), columns, device))
            on_picture()
    finally:
        model.train(was_training)
    table = np.asarray(rows, dtype=np.float64)
    return Evaluation(tuple(pictures), {name: table[:, i] for i, name in enumerate(columns)})


@torch.no_grad()
def _logits(
    model: PatchModel, image: Image, columns: Sequence[str], device: torch.device
) -> list[float]:
    return [float(model(normalised(COLUMNS[name](image), device)[None])) for name in columns]
