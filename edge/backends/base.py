"""What runs a model file."""

from __future__ import annotations

import hashlib
import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from typing_extensions import Self

from edge.files import environment_cache
from edge.manifest import Manifest, Precision
from edge.regions import RegionSpec
from edge.tensorrt.store import FOLDER_VARIABLE, BuildEngine
from edge.types import Batch, Box, Evidence, Image, PixelFormat

log = logging.getLogger(__name__)

MAX_BATCH = 8
"""Crops given to a model at once; bounds the memory of `tiles` on large frames."""


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """Which backend, and its settings; each takes those that mean something to it.

    Attributes:
        name: a row of `edge.backends.BACKENDS`.
        device: what it runs on.
        precision: None for the backend's default.
        threads: per operator on the CPU; None for every core.
        region: what the model sees; None for the model's own. What is measured, is at its size.
        zero_copy: whether the GPU reads frames from the CPU's memory; None to measure it.
        build: builds an engine that does not exist yet; None if nothing can.
        progress: called with the progress of a build, in a few words.
    """

    name: str = "onnxruntime"
    device: str = "cpu"
    precision: Precision | None = None
    threads: int | None = None
    region: RegionSpec | None = None
    zero_copy: bool | None = None
    build: BuildEngine | None = None
    progress: Callable[[str], None] = lambda text: None


def folder_of(kind: str, *parts: str) -> Path:
    """Where something is kept that was made for this machine.

    Args:
        kind: begins its name.
        parts: all that it depends on: versions, hashes of files, the device.
    """
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named).expanduser() if named else environment_cache() / "engines"
    return folder / f"{kind}-{key}"


def kept_folder(kind: str, *parts: str) -> Path | None:
    """The same, made; None where it cannot be, which is logged."""
    folder = folder_of(kind, *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning(
            "engines cannot be kept in %s (%s), and will be built at every start. Make that folder "
            "writable, or name another in %s.",
            folder,
            error.strerror or error,
            FOLDER_VARIABLE,
        )
        return None
    return folder


class Backend(Protocol):
    """Runs one model file; a context manager that owns its memory.

    Attributes:
        name: for instance "onnxruntime".
        manifest: of the model file; its `precision` is what really is computed in.
    """

    name: str
    manifest: Manifest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give its memory back."""
        return None

    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Run once on a black batch of that shape, so that the first real frame is not slow."""
        self.infer(np.zeros((batch, height, width, 3), np.uint8))

    @abstractmethod
    def infer(self, frames: Batch) -> list[Evidence]:
        """Score a batch.

        Args:
            frames: uint8 [N, H, W, 3] BGR.

        Returns:
            N items, in order. Not checked for NaN; the verdict does that.

        Raises:
            ModelError: the runtime refused the batch.
            GpuError: the GPU failed.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A frame that a backend is working on.

    Attributes:
        boxes: the parts of the frame that the model sees, xyxy in pixels of the frame.
        input_hw: height and width at which it sees them.
        parts: their evidence, in order, once it is there.
    """

    boxes: Sequence[Box]
    input_hw: tuple[int, int]
    parts: Sequence[Future[list[Evidence]]]

    def evidence(self) -> list[Evidence]:
        """Wait for the evidence, an item for each box; raises as `Backend.infer` does."""
        return [item for part in self.parts for item in part.result()]


@runtime_checkable
class FrameBackend(Backend, Protocol):
    """A backend that cuts the region out of a frame itself, and works while the caller goes on."""

    def submit(self, image: Image, pixel_format: PixelFormat, region: RegionSpec) -> Pending:
        """Take a frame; its memory stays as it is until its evidence is there.

        Args:
            image: uint8, [H, W, 3] BGR or [H·3/2, W] NV12.
            pixel_format: which of both.
            region: what the model sees of it.

        Raises:
            EngineError: there is no engine for frames of this size, and none can be built.
        """
        ...
