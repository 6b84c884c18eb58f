"""The bar that is shown while something takes long."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from edge.terminal import console


def progress_bar(out: Console | None = None, count: ProgressColumn | None = None) -> Progress:
    """Tasks with a count, the time left, and a `note`; nothing where there is no terminal.

    Args:
        out: where people read; the usual console if None.
        count: how a task's amount is shown; as numbers if None.
    """
    out = out or console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        count or MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=out,
        transient=True,
        disable=not out.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
