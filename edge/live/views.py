"""Views: what a person looks at while a run goes on, in a window, on the terminal or elsewhere.

Every view gets the same, and the loops know none by name. `make_views` is the list of those there
are.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from typing_extensions import Self

from edge.config import RunConfig
from edge.config.parts import OutputConfig
from edge.errors import MissingDependency
from edge.manifest import Manifest
from edge.sinks.retention import Retention
from edge.sinks.worker import WorkerHealth
from edge.sources.base import Source
from edge.sources.live import Health
from edge.types import Picture, Result

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Controls:
    """What a person changes while a run goes on: written by views, read by the loops.

    Threads may differ: each attribute is set as a whole, and nobody waits for it.
    """

    stop: bool = False  # end the run cleanly after this frame
    heat_map: bool = True


class View(Protocol):
    """Shows results as they come; a context manager. `result` alone may come from another thread.

    Attributes:
        name: its stage in `timings_ms` of a recording.
        period_s: how often it wants `tick`, in seconds.
    """

    name: str
    period_s: float = 0.25

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            SinkError: it cannot be shown.
        """
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        return None

    def sources(self, names: Sequence[str]) -> None:
        """The sources to show, in order; called first, and again when they change."""
        return None

    @abstractmethod
    def result(self, name: str, result: Result, picture: Picture) -> None:
        """A source's newest result; must return at once."""

    def health(self, name: str, health: Health, sinks: Sequence[WorkerHealth]) -> None:
        """The state of a live source and its sinks, when it has changed."""
        return None

    def switched(self, model: Manifest, path: Path) -> None:
        """Another model, of this file, judges from now on."""
        return None

    def tick(self) -> None:
        """Draw and obey keys, in the main thread.

        Raises:
            SinkError: it can no longer be shown.
        """
        return None


def make_views(
    config: RunConfig,
    controls: Controls,
    console: Console | None,
    title: str,
    model: Manifest,
    recording: Source | None = None,
) -> list[View]:
    """The views of a run, unentered.

    Where there is no display the window is left out with a note, and the run goes on. `console` is
    a terminal for the progress, `title` that of the window; `recording` is the source, open, where
    it is no live one. Raises a MissingDependency where a view needs a library that is absent.
    """
    views: list[View] = []
    if config.output.window:
        views += _window(config.output, controls, title, recording)
    if config.web.address is not None:
        views.append(_page(config, model))
    if console is not None:
        from edge.live.status import ProgressView, StatusView

        views.append(
            StatusView(console)
            if recording is None
            else ProgressView(recording.name, recording.length)
        )
    return views


def _page(config: RunConfig, model: Manifest) -> View:
    try:
        from edge.web.view import WebView
    except ModuleNotFoundError as error:
        if str(error.name).startswith("edge"):
            raise
        install = "pip install 'patchwatch[web]'"
        raise MissingDependency(str(error.name), "serve a page (--web)", install) from error
    return WebView(config, model)


def _window(
    output: OutputConfig, controls: Controls, title: str, recording: Source | None
) -> list[View]:
    from edge.live.screen import display_problem
    from edge.live.window import GRID_KEYS, KEYS, STILL_S, WindowView

    problem = display_problem()
    if problem is not None:
        log.info("%s Continuing without a window.", problem)
        return []
    stills = recording is not None and recording.kind == "stills"
    log.info("In the window: %s.", KEYS if recording else f"{KEYS}; {GRID_KEYS}")
    if stills:
        log.info("The last picture stays until a key is pressed; --headless does not wait.")
    return [
        WindowView(
            controls,
            f"Patchwatch · {title}",
            output.snapshots,
            Retention.of(output.snapshots_keep_days, output.snapshots_keep_mb),
            holds=recording is not None,
            still_s=STILL_S if stills else 0.0,
        )
    ]
