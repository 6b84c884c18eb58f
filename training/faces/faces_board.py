"""What one looks at while a face model learns: curves in a plot, faces on TensorBoard."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import MissingDependency
from edge.files import written_whole
from training.board import Board
from training.evaluation.plots import COLOURS, INK
from training.journal import BOARD, LOG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOTS = ("metrics.png", "metrics.svg")
AUC, BALANCED, LOSS = "auc", "balanced_accuracy", "loss"
"""Keys of the figures of each validation set."""

_TITLES = {LOSS: "cross-entropy", AUC: "AUC", BALANCED: "balanced accuracy at logit 0"}
_TAG = "faces"


class FacesBoard:
    """Draws the curves of a run anew after each epoch, and shows its faces on TensorBoard.

    Args:
        run: folder of the run, which exists.
        step: steps done already.
    """

    def __init__(self, run: Path, step: int = 0) -> None:
        self._run = run
        try:
            # A folder of its own: the file beside it would have the same name.
            self._board: Board | None = Board(run / BOARD / _TAG, step)
        except MissingDependency:  # the journal has said so
            self._board = None

    def show(self, picture: bytes, hw: tuple[int, int], step: int) -> None:
        """Put a PNG on TensorBoard.

        Raises:
            SinkError: it cannot be written.
        """
        if self._board is not None:
            self._board.add_picture(_TAG, picture, hw, step)
            self._board.flush()

    def draw(self, steps_per_epoch: int) -> list[Path]:
        """Draw what the log holds as PNG and SVG.

        Raises:
            SinkError: they cannot be written.
        """
        lines = [json.loads(line) for line in (self._run / LOG).read_text("utf-8").splitlines()]
        figure = metrics_plot(lines, steps_per_epoch)
        paths = [self._run / name for name in PLOTS]
        for path in paths:
            with written_whole(path, _drawn(figure, path.suffix[1:])):
                pass
        return paths

    def close(self) -> None:
        """Finish the file."""
        if self._board is not None:
            self._board.close()


def metrics_plot(lines: Sequence[Mapping[str, Any]], steps_per_epoch: int) -> Figure:
    """Loss, AUC and balanced accuracy over epochs, a line for each validation set.

    Args:
        lines: of the log, one for each validation.
        steps_per_epoch: to count epochs.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.9), dpi=100, layout="constrained")
    for place, (key, title) in enumerate(_TITLES.items()):
        axes = figure.add_subplot(1, len(_TITLES), place + 1)
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xlabel("epoch", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        epochs = [line["step"] / steps_per_epoch for line in lines]
        for number, (name, values) in enumerate(_curves(lines, key)):
            axes.plot(epochs, values, color=COLOURS[number], label=name, marker="o", markersize=3)
        _finish(axes, key)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _curves(lines: Sequence[Mapping[str, Any]], key: str) -> Iterator[tuple[str, list[float]]]:
    for name in lines[-1]["sets"] if lines else ():
        yield f"{name}, validation", [line["sets"][name][key] for line in lines]
    if key == LOSS:
        yield "training, with dropout", [line["loss"] for line in lines]


def _finish(axes: Axes, key: str) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    if key != LOSS:
        axes.set_ylim(-0.02, 1.02)
        axes.axhline(0.5, color="#AAAAAA", linewidth=0.8, linestyle=":")


def _drawn(figure: Figure, kind: str) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format=kind)
    return data.getvalue()
