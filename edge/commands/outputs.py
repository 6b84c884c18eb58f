"""The sinks of a run, from its configuration."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edge.config import PLACE, AlertConfig, OutputConfig, RunConfig
from edge.sinks.base import Sink
from edge.sinks.controls import Controls
from edge.sinks.paths import file_stem
from edge.sources.base import Source

if TYPE_CHECKING:
    from edge.sinks.wall import Wall

log = logging.getLogger(__name__)

_STDOUT, _STDERR = 1, 2

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
    sinks += file_sinks(output, config.alerts, source.name, threshold, source.fps)
    if console is not None:
        from edge.sinks.progress import ProgressSink

        sinks.append(ProgressSink(console, source.length, source.name))
    if output.json_lines is not None:
        from edge.sinks.jsonl import JsonLinesSink

        sinks.append(JsonLinesSink(placed(output.json_lines, source.name)))
    return sinks


def file_sinks(
    output: OutputConfig,
    alerts: AlertConfig,
    name: str,
    threshold: float,
    fps: float | None = None,
) -> list[Sink]:
    """The sinks that write what one source alone may write, unopened.

    Args:
        output: what was asked for.
        alerts: likewise.
        name: of the source, for `{camera}` in the name of a file.
        threshold: above which scores are called fake.
        fps: announced frames per second; None where unknown.

    Returns:
        Sinks that may be opened again after a failure, and then harm nothing that they wrote.
    """
    sinks: list[Sink] = []
    if output.save is not None:
        sinks.append(_recording(output, placed(output.save, name), fps))
    if output.images is not None:
        from edge.sinks.images import ImagesSink

        sinks.append(ImagesSink(placed(output.images, name)))
    if alerts.folder is not None:
        sinks.append(_events(placed(alerts.folder, name), alerts, threshold))
    return sinks


def _recording(output: OutputConfig, path: Path, fps: float | None) -> Sink:
    from edge.sinks.recording import RecordingSink

    return RecordingSink(
        path,
        fps,
        rotate_s=output.rotate_s,
        rotate_bytes=None if output.rotate_mb is None else round(output.rotate_mb * 1e6),
        keep_files=output.keep_files,
    )


def _events(folder: Path, alerts: AlertConfig, threshold: float) -> Sink:
    from edge.decision.alerts import AlertSettings
    from edge.sinks.events import EventsSink

    settings = AlertSettings(alerts.states, alerts.debounce_s, alerts.cooldown_s)
    return EventsSink(folder, settings, threshold=threshold, snapshot=alerts.snapshot)


def placed(path: Path, name: str) -> Path:
    """The name of a file, with that of the camera where a place for it is."""
    return Path(str(path).replace(PLACE, file_stem(name)))


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
