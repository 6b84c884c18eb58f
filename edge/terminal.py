"""What commands share at the terminal: the console, notes, argument types, opening a detector."""

from __future__ import annotations

import argparse
import functools
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

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

from edge.backends import BackendChoice, open_backend
from edge.config import RunConfig
from edge.detector import Detector
from edge.errors import MissingDependency
from edge.faces.finders import Faces
from edge.regions import parse_region
from edge.tensorrt.record import Sidecar
from edge.tensorrt.store import BuildEngine, EngineRequest
from edge.tensorrt.store import Progress as Report
from edge.weights import find_model


@functools.cache
def console() -> Console:
    """For people: on stderr, so that stdout stays free for data.

    One for the whole process, so that a note does not tear a progress bar.
    """
    return Console(stderr=True, highlight=False)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console().print(f"patchwatch: {record.getMessage()}", markup=False, soft_wrap=True)


def show_notes(quiet: bool = False) -> None:
    """Show the notes of the library (warnings, where a snapshot went) as plain lines."""
    level = logging.ERROR if quiet else logging.INFO
    logging.basicConfig(level=level, handlers=[_Notes()], force=True)


def _shown(build: BuildEngine) -> BuildEngine:
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


@contextmanager
def open_detector(config: RunConfig, build: BuildEngine | None = None) -> Iterator[Detector]:
    """A detector on an open backend, warmed up.

    Args:
        config: its model, region, backend and faces.
        build: builds a TensorRT engine that does not exist yet; None where nothing can.

    Raises:
        ModelError: the model cannot be used, or the one that finds faces.
        MissingDependency: a library that they need is not installed.
        GpuError: a GPU is needed, and none responds.
    """
    path = find_model(config.model)
    require_opencv()
    choice = BackendChoice(**config.backend.model_dump(), build=build and _shown(build))
    with (
        open_backend(path, choice=choice) as backend,
        Faces(config.faces) as faces,
    ):
        region = parse_region(config.region or backend.manifest.region)
        detector = Detector(backend, region, faces)
        detector.warm_up()
        yield detector


def require_opencv() -> None:
    """Check that OpenCV can be imported.

    Raises:
        MissingDependency: it cannot; says which extra brings it.
    """
    try:
        import cv2  # noqa: F401  # only whether it can be imported matters
    except ImportError as error:
        command = (
            "pip install 'patchwatch[desktop]' with a desktop, 'patchwatch[headless]' without; "
            "on a Jetson, apt install python3-opencv"
        )
        if "multiarray" in str(error):  # it was built for NumPy 1, and there is NumPy 2
            command = "pip install 'numpy>=1.24,<2'"
        raise MissingDependency(f"OpenCV ({error})", "read and draw pictures", command) from error
