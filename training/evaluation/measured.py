"""Logits of labelled pictures under each degradation, and what is read off them at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.folders import Picture

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Logits of whole pictures at their native pixels.

    Attributes:
        pictures: in order.
        logits: per degradation, float64 [pictures]; NaN where the model gave none.
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

    def where(self, kept: npt.ArrayLike) -> Evaluation:
        """Some of the pictures under the same degradations; one flag for each picture."""
        mask = np.asarray(kept, dtype=bool)
        pictures = tuple(p for p, keep in zip(self.pictures, mask, strict=True) if keep)
        return Evaluation(pictures, {name: x[mask] for name, x in self.logits.items()})

    def without_source(self, label: int, source: str) -> Evaluation:
        """All pictures but those of one source."""
        return self.where([(p.label, p.source) != (label, source) for p in self.pictures])

    def finite(self) -> Evaluation:
        """The pictures whose logit is finite under every degradation."""
        return self.where(np.isfinite(np.stack(list(self.logits.values()))).all(axis=0))

    def describe(self) -> str:
        """The sources of both labels, in one line."""
        named = (self.source_names(label) for label in (0, 1))
        return " and ".join(", ".join(names) for names in named if names)

    def source_names(self, label: int) -> list[str]:
        """Sources of a label, by name."""
        return sorted({p.source for p in self.pictures if p.label == label})

    def generator_aucs(self, column: str) -> dict[str, float]:
        """AUC of each generator against all photographs under a degradation."""
        reals = self.of_label(column, 0)
        return {name: auc(reals, self.of_source(column, 1, name)) for name in self.source_names(1)}

    def mean_auc(self, columns: Sequence[str]) -> float:
        """Mean over degradations of the mean over generators; NaN where there is none."""
        aucs = [list(self.generator_aucs(name).values()) for name in columns]
        return float(np.mean(aucs)) if aucs and aucs[0] else math.nan


def auc(reals: Logits, fakes: Logits) -> float:
    """Area under the ROC curve: P(fake > real) + ½ P(fake = real) (Mann and Whitney, 1947).

    NaN where a side is empty.
    """
    if not len(reals) or not len(fakes):
        return math.nan
    ordered = np.sort(reals)
    below = np.searchsorted(ordered, fakes, side="left")
    not_above = np.searchsorted(ordered, fakes, side="right")
    return float((below + not_above).mean() / (2 * len(ordered)))
