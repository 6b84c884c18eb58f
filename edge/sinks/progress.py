"""A line on the terminal that says how far a run is and what it sees."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import Self

from edge.types import Picture, Result


class ProgressSink:
    """Shows frames done, the verdict and, where the length is known, the time left.

    Args:
        console: where to; nothing is shown unless it is a terminal.
        length: frames to come; None where unknown (a live source).
        description: what stands before the bar.
    """

    name = "progress"
    wants_picture = False

    def __init__(self, console: Console, length: int | None, description: str) -> None:
        bar = (BarColumn(), TimeRemainingColumn()) if length else ()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            *bar,
            TextColumn("{task.completed:.0f} frames  {task.fields[verdict]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(description, total=length, verdict="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def write(self, result: Result, picture: Picture) -> None:
        """Count a frame; a `no_signal` is shown and not counted."""
        score = result.verdict.score
        text = result.verdict.state + (f" {100 * score:.0f} %" if score is not None else "")
        self._progress.update(self._task, advance=result.verdict.state != "no_signal", verdict=text)
