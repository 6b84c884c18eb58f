"""Draws of pictures in which a small source counts as much as a large one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from edge.errors import SourceError
from training.data.pictures import Indices, Picture, Pictures

_Group = tuple[int, int]


class BalancedDraw:
    """Draws a picture of a label: a source evenly among those of the label, then a picture evenly.

    Beside the pictures, which are not copied, it keeps 8 bytes for each. What is drawn depends on
    the generator and the pictures alone, and not on the order in which sources were found.

    Args:
        pictures: to draw from; a sequence other than `Pictures` is turned into one.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = Pictures.of(pictures)
        self._order = _grouped(self._pictures)
        self._groups: dict[int, list[_Group]] = {}
        for label, start, stop in _runs(self._pictures, self._order):
            self._groups.setdefault(label, []).append((start, stop))

    @property
    def source_names(self) -> tuple[str, ...]:
        """Of all sources, whatever their label."""
        return self._pictures.source_names

    def draw(self, label: int, rng: np.random.Generator) -> Picture:
        """One picture of a label.

        Raises:
            SourceError: no picture has it.
        """
        groups = self._groups.get(label)
        if not groups:
            raise SourceError(
                f"no picture has the label {label}. Give pictures of both labels to draw from."
            )
        start, stop = groups[int(rng.integers(len(groups)))]
        return self._pictures[int(self._order[start + int(rng.integers(stop - start))])]


def _grouped(pictures: Pictures) -> Indices:
    """Places of the pictures by label, then name of the source, then as they come."""
    ranks = np.argsort(np.argsort(np.array(pictures.source_names, dtype=object)))
    return np.lexsort((ranks[pictures.source_ids], pictures.labels))


def _runs(pictures: Pictures, order: Indices) -> list[tuple[int, int, int]]:
    """Label, start and stop in the order of each run of one label and source."""
    labels, sources = pictures.labels[order], pictures.source_ids[order]
    changes = (np.diff(labels) != 0) | (np.diff(sources) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
    pairs = [(start, stop) for start, stop in pairwise(bounds) if stop > start]
    return [(int(labels[start]), start, stop) for start, stop in pairs]
