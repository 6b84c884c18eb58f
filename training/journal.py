"""What a training writes down as it goes: `log.jsonl`, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import cast

from rich.console import Console

from edge.errors import MissingDependency, SinkError
from edge.files import written_whole
from training.board import Board

LOG = "log.jsonl"
BOARD = "tensorboard"


class Journal:
    """Figures by step; a resumed run has each line once.

    Args:
        folder: of the run.
        step: steps done already; whatever was written after them is taken back.
        out: told when TensorBoard is absent.
    """

    def __init__(self, folder: Path, step: int, out: Console) -> None:
        self._log, self._curves = folder / LOG, folder / BOARD
        self._step, self._out = step, out
        self._board: Board | None = None

    def __enter__(self) -> Journal:
        self._take_back(self._step)
        self._board = _board(self._curves, self._step, self._out)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()

    def step(self, step: int, loss: float, rate: float) -> None:
        """Note one step, for TensorBoard alone.

        Raises:
            SinkError: it cannot be written.
        """
        if self._board is not None:
            self._board.add("train/loss", loss, step)
            self._board.add("train/rate", rate, step)

    def validation(
        self, step: int, loss: float, score: float, figures: Mapping[str, object]
    ) -> None:
        """Note a validation and the mean loss before it.

        Raises:
            SinkError: the log cannot be written.
        """
        line = {"step": step, "loss": loss, "score": score, **figures}
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise SinkError(f"{self._log} cannot be written: {error.strerror}.") from error
        if self._board is not None:
            for name, value in _numbers({"score": score, **figures}, "validation"):
                self._board.add(name, value, step)
            self._board.flush()

    def _take_back(self, step: int) -> None:
        if not self._log.is_file():
            return
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= step]
        if kept != lines:
            with written_whole(self._log, "".join(kept).encode()):
                pass


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut short by a full disk or a lost machine


def _numbers(figures: Mapping[str, object], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in figures.items():
        name = f"{prefix}/{key}"
        if isinstance(value, Mapping):
            yield from _numbers(cast("Mapping[str, object]", value), name)
        elif isinstance(value, int | float):
            yield name, float(value)


def _board(folder: Path, step: int, out: Console) -> Board | None:
    try:
        return Board(folder, step)
    except MissingDependency as error:
        out.print(f"{error} The figures go to {LOG} alone.")
        return None
