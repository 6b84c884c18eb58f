"""What commands share at the terminal: the console, notes, argument types, opening a detector."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

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
from edge.detector import Detector, Faces
from edge.errors import ModelError, printable, require_opencv, without_logins
from edge.faces.finder import FaceFinder
from edge.manifest import Manifest
from edge.regions import parse_region
from edge.reuse import Reuse
from edge.sources.policy import CSI_HW
from edge.tensorrt.record import Sidecar
from edge.tensorrt.store import BuildEngine, EngineRequest
from edge.tensorrt.store import Progress as Report
from edge.types import PixelFormat
from edge.weights import find_model, variant


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
    """A detector on open backends, warmed up.

    Args:
        config: its models, region, backend and faces.
        build: builds a TensorRT engine that does not exist yet; None where nothing can.

    Raises:
        ModelError: a model cannot be used.
        MissingDependency: a library that they need is not installed.
        GpuError: a GPU is needed, and none responds.
    """
    path = find_model(config.model)
    require_opencv()
    choice = BackendChoice(
        **config.backend.model_dump(),
        region=parse_region(config.region) if config.region else None,
        build=build and _shown(build),
    )
    with ExitStack() as stack:
        backend = stack.enter_context(open_backend(path, choice=choice))
        region = parse_region(config.region or backend.manifest.region)
        judge = backend if region.kind == "faces" else None
        if judge is None and config.faces.enabled and config.faces.model:
            model = find_model(config.faces.model)
            # Its own file has the types of a precision or has not, whatever the other has.
            typed = choice.precision and variant(model, choice.precision)
            own = replace(choice, precision=choice.precision if typed else None, region=None)
            judge = stack.enter_context(open_backend(model, choice=own))
        faces = None
        if judge is not None:
            finder = FaceFinder(config.faces.longest_side, choice.threads)
            size = _face_size(judge.manifest) if judge is not backend else region.size
            faces = Faces(judge, finder, size, config.faces.rate)
        # Of a recording every frame counts, however little it has changed.
        reuse = Reuse() if config.verdict.reuse else None
        detector = Detector(backend, region, faces, reuse)
        detector.warm_up(*_expected_frames(config))
        yield detector


def _expected_frames(config: RunConfig) -> tuple[tuple[int, int] | None, PixelFormat]:
    """Height and width of the frames that a camera will give, None where only the first of them
    tells, and their format.
    """
    source, capture = config.source or "", config.capture
    hw = (capture.height, capture.width) if capture.height and capture.width else None
    if source.lower().startswith("csi:"):
        return hw or CSI_HW, capture.pixel_format
    return hw if source.isdecimal() or source.startswith("/dev/") else None, "bgr"


def _face_size(manifest: Manifest) -> int:
    region = parse_region(manifest.region)
    if region.kind != "faces":
        raise ModelError(
            f"{manifest.name} judges the region {region}: expected a model of faces for "
            "--faces-model. Judge faces by any other with --model and --region faces."
        )
    return region.size
