"""The bar that is shown while videos are worked on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edge.terminal import console


class VideoBar:
    """Counts videos, and knows the time left by their bytes, as lengths differ.

    Args:
        progress: that shows it.
        title: of the bar.
        videos: how many there are.
        size: bytes of all of them.
    """

    def __init__(self, progress: Progress, title: str, videos: int, size: int) -> None:
        self._progress, self._videos, self._done = progress, videos, 0
        self._task = progress.add_task(title, total=max(size, 1), note=f"0/{videos}")

    def advance(self, size: int) -> None:
        """One video of so many bytes is done."""
        self._done += 1
        self._progress.update(self._task, advance=size, note=f"{self._done}/{self._videos}")


@contextmanager
def video_bar(title: str, sizes: list[int]) -> Iterator[VideoBar]:
    """Show a bar for videos of so many bytes each; nothing where there is no terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]} videos"),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield VideoBar(progress, title, len(sizes), sum(sizes))
