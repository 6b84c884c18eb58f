"""A contact sheet of the errors that a model is surest of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage

from edge.errors import SourceError
from edge.sources.images import read_image
from edge.types import Image
from training.evaluation.plots import FAKE_COLOUR, INK, REAL_COLOUR
from training.evaluation.record import Item, Judged, Record
from training.evaluation.videos import sampled_frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ACROSS = 4
WORST = 8
_TILE_PX = 320
_GROUPS = (
    (0, "Photographs called fake", FAKE_COLOUR),
    (1, "Generated pictures called real", REAL_COLOUR),
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A picture on the wrong side of the threshold.

    Attributes:
        item: the picture.
        column: the degradation under which its score is the most wrong.
        score: there.
    """

    item: Item
    column: str
    score: float


def worst(record: Record, model: Judged, label: int, most: int = WORST) -> list[Mistake]:
    """The most confident mistakes on a label, the worst first, each picture at most once."""
    evaluation, calibration = record.evaluation(model), model.calibration
    found = []
    for index, item in enumerate(record.items):
        logits = {name: float(x[index]) for name, x in evaluation.logits.items()}
        finite = {name: calibration.score(x) for name, x in logits.items() if np.isfinite(x)}
        if item.label != label or not finite:
            continue
        column = (min if label else max)(finite, key=lambda name: finite[name])
        if (finite[column] > calibration.threshold) != bool(label):
            found.append(Mistake(item, column, finite[column]))
    found.sort(key=lambda mistake: mistake.score, reverse=not label)
    return found[:most]


def error_sheet(record: Record, model: Judged) -> Figure | None:
    """Both kinds of mistakes as pictures, untouched, with source, score and degradation.

    None where there is no mistake.

    Raises:
        SourceError: a picture is no longer where it was.
    """
    groups = [(worst(record, model, label), title, c) for label, title, c in _GROUPS]
    groups = [group for group in groups if group[0]]
    if not groups:
        return None
    figure, parts = _page(model, [len(mistakes) for mistakes, _, _ in groups])
    for part, (mistakes, title, colour) in zip(parts, groups, strict=True):
        part.suptitle(title, color=colour, fontsize=11, x=0.01, ha="left")
        rows = -(-len(mistakes) // ACROSS)
        for place in range(rows * ACROSS):
            axes = part.add_subplot(rows, ACROSS, place + 1)
            axes.set_axis_off()
            if place < len(mistakes):
                _show(axes, record, mistakes[place])
    return figure


def _page(model: Judged, counts: Sequence[int]) -> tuple[Figure, list[SubFigure]]:
    from matplotlib.figure import Figure

    rows = [-(-count // ACROSS) for count in counts]
    size = (2.4 * ACROSS, 2.75 * sum(rows) + 0.4 * len(rows) + 0.5)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    threshold = model.calibration.threshold
    title = f"{model.name}: the surest mistakes at threshold {threshold:.2f}"
    figure.suptitle(title, color=INK, fontsize=13)
    parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)
    return figure, list(parts[:, 0])


def _show(axes: Axes, record: Record, mistake: Mistake) -> None:
    axes.imshow(_thumbnail(_picture(record, mistake.item)))
    source = shorten(mistake.item.source, 30, placeholder="…")
    axes.set_title(f"{source}\nscore {mistake.score:.3f}, {mistake.column}", color=INK, fontsize=8)


def _picture(record: Record, item: Item) -> Image:
    path = record.path(item)
    if not item.video:
        return read_image(path)
    if not path.is_file():
        raise SourceError(f"{path}: no such file.")
    return next(iter(sampled_frames(path, record.fps or 1.0)))


def _thumbnail(image: Image) -> Image:
    """RGB, its middle square, at most `_TILE_PX` high and wide."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = PillowImage.fromarray(image[top : top + side, left : left + side, ::-1].copy())
    square.thumbnail((_TILE_PX, _TILE_PX))
    return np.asarray(square)
