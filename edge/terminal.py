"""Flags that several commands share, and how they are turned into objects."""

from __future__ import annotations

import argparse
import functools
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from rich.console import Console
from rich.errors import LiveError

from edge.backends import BackendChoice, open_backend
from edge.config import BackendConfig
from edge.detector import Detector
from edge.errors import MissingDependency
from edge.faces.finders import Faces, FaceSettings
from edge.regions import SYNTAX, parse_region
from edge.tensorrt.record import PRECISIONS, Sidecar
from edge.tensorrt.store import BuildEngine, EngineRequest, Progress
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
    """Add --model, --region, --threads and what chooses the runtime."""
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
    parser.add_argument(
        "--backend",
        choices=("onnxruntime", "tensorrt"),
        help="what runs the model (default: onnxruntime); tensorrt builds an engine at first",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "tensorrt"),
        help="what ONNX Runtime runs on (default: cpu)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the arithmetic (default: fp16 with TensorRT, fp32 elsewhere)",
    )


def backend_choice(config: BackendConfig, build: BuildEngine | None) -> BackendChoice:
    """The choice that a configuration makes.

    Args:
        config: its part on the backend.
        build: builds engines; None if nothing can.
    """
    return BackendChoice(**config.model_dump(), build=build and shown(build))


def chosen(args: argparse.Namespace) -> BackendChoice:
    """The choice that the flags of `add_model_arguments` make, without a configuration file."""
    flags = {"name": args.backend, "device": args.device, "precision": args.precision}
    given = {key: value for key, value in flags.items() if value is not None}
    config = BackendConfig.model_validate({"threads": args.threads, **given})
    return backend_choice(config, getattr(args, "build_engine", None))


def shown(build: BuildEngine) -> BuildEngine:
    """The same builder, its progress shown on the terminal."""

    def showing(request: EngineRequest, progress: Progress) -> tuple[bytes, Sidecar]:
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


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 on."""
    return _whole(text, 1)


def from_zero(text: str) -> int:
    """An argparse type: a whole number from 0 on."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {least} on, found {text!r}."
        )
    return value


@contextmanager
def open_detector(
    model: str,
    region: str | None,
    choice: BackendChoice | None = None,
    faces: FaceSettings | None = None,
) -> Iterator[Detector]:
    """A detector on an open backend, warmed up.

    Args:
        model: a shipped model's name or a file.
        region: as on the command line; None for the manifest's.
        choice: of the runtime; ONNX Runtime on the CPU if None.
        faces: how they are found, where the region is faces; as usual if None.

    Raises:
        UsageError: the region is not known.
        ModelError: the model cannot be used, or the one that finds faces.
        MissingDependency: faces are to be found, and dlib is not installed.
        GpuError: a GPU is needed, and none answers.
    """
    spec = parse_region(region) if region else None
    path = find_model(model)
    require_opencv()
    with (
        open_backend(path, choice=choice) as backend,
        Faces(faces or FaceSettings()) as finding,
    ):
        detector = Detector(backend, spec or parse_region(backend.manifest.region), finding)
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
