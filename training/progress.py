"""The bar that is shown while something takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from edge.terminal import console

_SHOWN = 5
_MOST_WIDTH = 10_000
"""Characters of a row that is not shown on a terminal."""


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


@contextmanager
def advancing(
    description: str, total: int | None = None, out: Console | None = None
) -> Iterator[Callable[..., None]]:
    """One task: gives a function to call with how much more was done (1) and, where it was not
    known, of how much.
    """
    with progress_bar(out) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(count: int = 1, total: int | None = None) -> None:
            progress.update(task, advance=count, total=total)

        yield advance


def print_table(out: Console, table: Table) -> None:
    """Print a table; in a file, which has no edge to fit a row to, its rows are never broken."""
    if not out.is_terminal:
        unbounded = out.options.update(max_width=_MOST_WIDTH)
        out.width = max(out.width, Measurement.get(out, unbounded, table).maximum)
    out.print(table)


def print_rejected(out: Console, reasons: Sequence[str]) -> None:
    """List why files are left out, the first of them if there are many."""
    if reasons:
        out.print(f"{len(reasons)} files are left out:")
    for reason in reasons[:_SHOWN]:
        out.print(f"  {reason}", markup=False, soft_wrap=True)
    if len(reasons) > _SHOWN:
        out.print(f"  and {len(reasons) - _SHOWN} more")
