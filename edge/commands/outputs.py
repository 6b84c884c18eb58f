"""The sinks of a run, from its configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from edge.config import OutputConfig, RunConfig
from edge.sinks import make_sinks as sinks_of
from edge.sinks.base import Sink, SinkContext
from edge.sinks.controls import Controls
from edge.sources.base import Source

if TYPE_CHECKING:
    from edge.sinks.wall import Wall

log = logging.getLogger(__name__)

WINDOW = "show"
"""The window's stage."""


def make_sinks(
    config: RunConfig, controls: Controls, source: Source, threshold: float, console: Console | None
) -> list[Sink]:
    """The sinks of a recording or of pictures, unopened, in the order in which they are served.

    JSON lines come last, so that a line holds the time of every other stage. Where there is no
    display the window is left out with a note, and the run goes on.

    Args:
        config: what was asked for.
        controls: what the window's keys change.
        source: open; tells the video its rate and the progress its length.
        threshold: above which scores are called fake.
        console: shows the progress; None for none.
    """
    output = config.output
    sinks: list[Sink] = []
    if output.window:
        sinks += _window(output, controls, source)
    if console is not None:
        from edge.sinks.progress import ProgressSink

        sinks.append(ProgressSink(console, source.length, source.name))
    return [*sinks, *sinks_of(config, SinkContext(source.name, threshold, source.fps))]


def open_wall(output: OutputConfig, controls: Controls, title: str) -> Wall | None:
    """The window of live cameras, unentered; None with a note where there is no display."""
    from edge.sinks.wall import KEYS, Wall
    from edge.sinks.windowing import display_problem

    problem = display_problem()
    if problem is not None:
        log.info("%s Going on without a window.", problem)
        return None
    log.info("In the window: %s.", KEYS)
    return Wall(controls, f"Patchwatch · {title}", output.snapshots)


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
