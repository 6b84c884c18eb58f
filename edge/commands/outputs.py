"""The sinks of a run, from its configuration."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from edge.config import OutputConfig
from edge.sinks.base import Sink
from edge.sinks.controls import Controls
from edge.sources.base import Source

log = logging.getLogger(__name__)

_STDOUT, _STDERR = 1, 2

WINDOW = "show"
"""The window's stage."""


def make_sinks(
    output: OutputConfig, controls: Controls, source: Source, console: Console | None
) -> list[Sink]:
    """The sinks, unopened, in the order in which they are served.

    JSON lines come last, so that a line holds the time of every other stage. Where there is no
    display the window is left out with a note, and the run goes on.

    Args:
        output: what was asked for.
        controls: what the window's keys change.
        source: open; tells the video its rate and the progress its length.
        console: shows the progress; None for none.
    """
    sinks: list[Sink] = []
    if output.window:
        sinks += _window(output, controls, source)
    if output.save is not None:
        from edge.sinks.video import VideoSink

        sinks.append(VideoSink(output.save, source.fps))
    if output.images is not None:
        from edge.sinks.images import ImagesSink

        sinks.append(ImagesSink(output.images))
    if console is not None:
        from edge.sinks.progress import ProgressSink

        sinks.append(ProgressSink(console, source.length, source.name))
    if output.json_lines is not None:
        from edge.sinks.jsonl import JsonLinesSink

        sinks.append(JsonLinesSink(output.json_lines))
    return sinks


@contextmanager
def stdout_for_lines() -> Iterator[None]:
    """Keep standard output for what Python writes; what C libraries print there goes to stderr.

    The driver of a CSI camera, for one, announces itself on standard output, among our lines.
    """
    python = sys.stdout
    try:
        ours = python.fileno() == _STDOUT
    except (OSError, io.UnsupportedOperation):  # there is none, or someone holds it in memory
        ours = False
    if not ours:
        yield
        return
    python.flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with open(kept, "w", encoding="utf-8", closefd=False) as sys.stdout:
            yield
    finally:
        sys.stdout = python
        os.dup2(kept, _STDOUT)
        os.close(kept)


def has_window(sinks: Sequence[Sink]) -> bool:
    """Whether someone watches, so that a recording should run at its own speed."""
    return any(sink.name == WINDOW for sink in sinks)


def _window(output: OutputConfig, controls: Controls, source: Source) -> list[Sink]:
    from edge.sinks.window import KEYS, WindowSink, display_problem

    problem = display_problem()
    if problem is not None:
        log.info("%s Going on without a window.", problem)
        return []
    log.info("In the window: %s.", KEYS)
    stills = source.kind == "stills"
    if stills:
        log.info("The last picture stays until a key is pressed; --headless does not wait.")
    return [WindowSink(controls, f"Patchwatch · {source.name}", output.snapshots, stills)]
