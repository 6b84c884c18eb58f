"""Flags that several commands share, and how they are turned into objects."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from edge.backends import open_backend
from edge.detector import Detector
from edge.errors import MissingDependency
from edge.regions import SYNTAX, parse_region
from edge.weights import DEFAULT, find_model


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


def add_model_arguments(parser: argparse.ArgumentParser, default_model: str | None) -> None:
    """Add --model, --region and --threads."""
    parser.add_argument(
        "--model",
        default=default_model,
        metavar="M",
        help=f"a shipped model's name or a model file (default: {DEFAULT})",
    )
    parser.add_argument("--region", metavar="R", help=f"{SYNTAX} (default: the model's own)")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads per operator (default: all cores)"
    )


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}.")
    return value


@contextmanager
def open_detector(model: str, region: str | None, threads: int | None) -> Iterator[Detector]:
    """A detector on an open backend, warmed up.

    Args:
        model: a shipped model's name or a file.
        region: as on the command line; None for the manifest's.
        threads: None for every core.

    Raises:
        UsageError: the region is not known.
        ModelError: the model cannot be used.
    """
    spec = parse_region(region) if region else None
    path = find_model(model)
    require_opencv()
    with open_backend(path, threads) as backend:
        detector = Detector(backend, spec or parse_region(backend.manifest.region))
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
        raise MissingDependency(
            f"OpenCV ({error})",
            "read and draw pictures",
            "pip install 'patchwatch[desktop]' with a desktop, 'patchwatch[headless]' without; "
            "on a Jetson, apt install python3-opencv",
        ) from error
