"""What one looks at while a face model learns: curves, and faces with what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from edge.files import write_all
from edge.regions import resize_antialiased
from edge.types import Image
from training.evaluation import Logits
from training.evaluation.plots import COLOURS, INK, rendered
from training.methods.faces import AUC, BALANCED, LOSS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = ("metrics.png", "metrics.svg")
_TITLES = {LOSS: "cross-entropy", AUC: "AUC", BALANCED: "balanced accuracy at logit 0"}

ACROSS = 8
WORDS = ("real", "fake")
"""At the index of their label."""

HEADING = "p_real, p_fake | prediction | label"

_SIDE, _TITLE, _GAP = 160, 30, 6
_FONT_SIZE = 13
_LEAST = 2  # columns, so that the heading fits
_INK, _RIGHT, _WRONG, _PAPER = (51, 51, 51), (0, 90, 60), (178, 34, 0), (255, 255, 255)


def title(logit: float, label: int) -> str:
    """What `HEADING` names, of one face.

    They are those of the two classes, sigmoid(∓ logit), not calibrated; a logit above 0 is
    called fake.
    """
    fake = float(0.5 + 0.5 * np.tanh(0.5 * logit))
    return f"{1 - fake:.2f}, {fake:.2f} | {WORDS[logit > 0]} | {WORDS[label]}"


def draw_grid(faces: Sequence[Image], logits: Logits, labels: Sequence[int]) -> Image:
    """Faces in rows of `ACROSS`, a title above each, red where the prediction is wrong; at least
    one; pictures are uint8 [H, W, 3] BGR.
    """
    columns, rows = min(max(len(faces), _LEAST), ACROSS), -(-len(faces) // ACROSS)
    wide, high = _SIDE + _GAP, _SIDE + _TITLE
    page = PillowImage.new("RGB", (columns * wide + _GAP, _TITLE + rows * high + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_SIZE)
    pen.text((_GAP, _TITLE), HEADING, _INK, font, anchor="ld")
    for place, (face, logit, label) in enumerate(zip(faces, logits, labels, strict=True)):
        left, top = _GAP + place % ACROSS * wide, _TITLE + place // ACROSS * high
        rgb = np.ascontiguousarray(resize_antialiased(face, _SIDE, _SIDE)[..., ::-1])
        page.paste(PillowImage.fromarray(rgb), (left, top + _TITLE))
        colour = _RIGHT if (logit > 0) == bool(label) else _WRONG
        pen.text((left, top + _TITLE - 4), title(float(logit), label), colour, font, anchor="ld")
    return np.ascontiguousarray(np.asarray(page)[..., ::-1])


def metrics_plot(rows: Sequence[Mapping[str, float]], steps_per_epoch: int) -> Figure:
    """Loss, AUC and balanced accuracy over epochs, a line for each validation set; rows are of the
    log, one for each validation.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.9), dpi=100, layout="constrained")
    for place, (key, title) in enumerate(_TITLES.items()):
        axes = figure.add_subplot(1, len(_TITLES), place + 1)
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xlabel("epoch", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        epochs = [row["step"] / steps_per_epoch for row in rows]
        for number, (name, values) in enumerate(_curves(rows, key)):
            axes.plot(epochs, values, color=COLOURS[number], label=name, marker="o", markersize=3)
        _finish(axes, key)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _curves(rows: Sequence[Mapping[str, float]], key: str) -> Iterator[tuple[str, list[float]]]:
    for name in rows[-1] if rows else ():
        if name.endswith(f"/{key}"):
            yield f"{name.split('/')[0]}, validation", [row[name] for row in rows]
    if key == LOSS:
        yield "training, with dropout", [row["loss"] for row in rows]


def _finish(axes: Axes, key: str) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    if key != LOSS:
        axes.set_ylim(-0.02, 1.02)
        axes.axhline(0.5, color="#AAAAAA", linewidth=0.8, linestyle=":")


def draw_metrics(run: Path, rows: Sequence[Mapping[str, float]], steps_per_epoch: int) -> None:
    """Write the plot of a run as `PLOTS`; a SinkError where they cannot be written."""
    write_all(run, rendered(metrics_plot(rows, steps_per_epoch), "metrics", ("png", "svg")))
