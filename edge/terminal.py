"""What commands share at the terminal: the console, notes, progress, argument types."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import sys
import time
from contextlib import ExitStack, suppress

from rich.console import Console
from rich.errors import LiveError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from edge.errors import printable, without_logins
from edge.tensorrt.record import Sidecar
from edge.tensorrt.store import BuildEngine, EngineRequest
from edge.tensorrt.store import Progress as Report


@functools.cache
def console() -> Console:
    """For people: on stderr, so that stdout stays free for data.

    One for the whole process, so that a note does not tear a progress bar.
    """
    return Console(stderr=True, highlight=False)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = printable(without_logins(record.getMessage()))
        console().print(f"patchwatch: {text}", markup=False, soft_wrap=True)


class _JsonNotes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_logins(record.getMessage()),
        }
        with suppress(OSError, ValueError):
            sys.stderr.write(json.dumps(note) + "\n")
            sys.stderr.flush()


def notes_are_json() -> bool:
    """Whether stderr is for a program that collects logs, and nobody reads it."""
    return os.environ.get("LOG_FORMAT", "").lower() == "json"


def show_notes(quiet: bool = False) -> None:
    """Show the notes of the library (warnings, where a snapshot went) as plain lines.

    With `LOG_FORMAT=json` in the environment each is a JSON object on stderr.
    """
    level = logging.ERROR if quiet else logging.INFO
    handler = _JsonNotes() if notes_are_json() else _Notes()
    logging.basicConfig(level=level, handlers=[handler], force=True)


def shown(build: BuildEngine) -> BuildEngine:
    """The same builder, its progress shown on the terminal."""

    def showing(request: EngineRequest, progress: Report) -> tuple[bytes, Sidecar]:
        began = time.monotonic()
        with ExitStack() as stack:
            status = console().status("building the engine")
            # Where a progress bar is on the terminal already, the notes have to do.
            with suppress(LiveError):
                stack.enter_context(status)

            def tell(text: str) -> None:
                progress(text)
                minutes, seconds = divmod(int(time.monotonic() - began), 60)
                status.update(f"building the engine, {minutes}:{seconds:02}: {text}")

            return build(request, tell)

    return showing


def progress_bar(*columns: ProgressColumn, hidden: bool = False) -> Progress:
    """A progress bar on the console, gone at the end; shown only on a terminal.

    Args:
        columns: what it shows; by default the description, a bar, how many of how many and the
            time left.
        hidden: show none.
    """
    usual = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(
        *(columns or usual),
        console=console(),
        transient=True,
        disable=hidden or not console().is_terminal,
        # Redirected, a piped stdout would end up on stderr.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 on."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}.")
    return int(text)
