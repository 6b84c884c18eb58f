"""Opening a detector as a configuration says: its models, each on its backend, and its faces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from edge.backends import BackendChoice, open_backend
from edge.config import RunConfig
from edge.detector import Detector, Faces
from edge.errors import ModelError, require_opencv
from edge.faces.finder import FaceFinder
from edge.manifest import Manifest
from edge.regions import parse_region
from edge.reuse import Reuse
from edge.sources.policy import CSI_HW
from edge.tensorrt.store import BuildEngine
from edge.terminal import shown
from edge.types import PixelFormat
from edge.weights import find_model, variant


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
        build=build and shown(build),
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
