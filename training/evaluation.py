"""How well a detector tells generated pictures from photographs, per generator and degradation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edge.sources.images import read_image
from training.data.crops import normalised
from training.data.degradations import COLUMNS
from training.data.folders import Picture
from training.models import PatchModel

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Logits of whole pictures at their native pixels.

    Attributes:
        pictures: in order.
        logits: per degradation, float64 [pictures].
    """

    pictures: tuple[Picture, ...]
    logits: Mapping[str, Logits]

    def of_label(self, column: str, label: int) -> Logits:
        """Logits of all pictures of a label under a degradation."""
        return self.logits[column][[p.label == label for p in self.pictures]]

    def of_source(self, column: str, label: int, source: str) -> Logits:
        """Logits of the pictures of one source under a degradation."""
        wanted = [p.label == label and p.source == source for p in self.pictures]
        return self.logits[column][wanted]

    def restricted_to(self, columns: Sequence[str]) -> Evaluation:
        """The same pictures under some of the degradations."""
        return Evaluation(self.pictures, {name: self.logits[name] for name in columns})

    def describe(self) -> str:
        """The sources of both labels, in one line."""
        return " and ".join(", ".join(self.source_names(label)) for label in (0, 1))

    def source_names(self, label: int) -> list[str]:
        """Sources of a label, by name."""
        return sorted({p.source for p in self.pictures if p.label == label})

    def generator_aucs(self, column: str) -> dict[str, float]:
        """AUC of each generator against all photographs under a degradation."""
        reals = self.of_label(column, 0)
        return {name: auc(reals, self.of_source(column, 1, name)) for name in self.source_names(1)}

    def mean_auc(self, columns: Sequence[str]) -> float:
        """Mean over degradations of the mean over generators."""
        return float(np.mean([list(self.generator_aucs(name).values()) for name in columns]))


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
        columns: names in `training.data.degradations.COLUMNS`.
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


def auc(reals: Logits, fakes: Logits) -> float:
    """Area under the ROC curve: P(fake > real) + ½ P(fake = real) (Mann and Whitney, 1947)."""
    ordered = np.sort(reals)
    below = np.searchsorted(ordered, fakes, side="left")
    not_above = np.searchsorted(ordered, fakes, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))


@torch.no_grad()
def _logits(model: PatchModel, picture: Picture, columns: Sequence[str]) -> list[float]:
    image = read_image(picture.path)
    return [float(model(normalised(COLUMNS[name](image))[None])) for name in columns]
