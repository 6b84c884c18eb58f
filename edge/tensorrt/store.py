"""From a model file to an engine for this machine: found, verified or built."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.errors import EngineError, ModelError
from edge.files import sha256_of
from edge.labels import STANDARD, LabelFolders
from edge.manifest import Manifest, Precision
from edge.tensorrt.cache import Engine, EngineCache, default_folder, read_engine
from edge.tensorrt.record import EngineKey, Machine, Shape, Sidecar
from edge.weights import variant

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Hears the progress of a build, in a few words."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What is to be built, from a model file (.onnx) with its variants beside it.

    Attributes:
        folder: for the timing cache of kernels; may be unwritable.
        labelled: pictures to measure the loss on, `0_real/…` and `1_fake/…`; None for none.
        workspace_bytes: that a build may use; None to let the builder choose.
        label_folders: further names of the folders of the labels.
    """

    model: Path
    key: EngineKey
    folder: Path
    labelled: Path | None = None
    workspace_bytes: int | None = None
    label_folders: LabelFolders = STANDARD


class BuildEngine(Protocol):
    """Builds an engine and proves it; passed in from outside, as edge cannot build. EngineError
    where it cannot be built, or differs too much from the model file.
    """

    def __call__(self, request: EngineRequest, progress: Progress) -> tuple[bytes, Sidecar]: ...


class Engines(Protocol):
    """Gives engines for shapes."""

    def get(self, machine: Machine, shape: Shape) -> Engine:
        """The engine for a shape on this machine, or an `EngineError`."""
        ...

    def refused(self, engine: Engine) -> bool:
        """TensorRT refused an engine from here; returns whether `get` may give another."""
        ...


class EngineStore:
    """Engines of one model file (.onnx) at one precision, built when they are first needed; without
    `build` none can be.
    """

    def __init__(
        self,
        model: Path,
        manifest: Manifest,
        precision: Precision,
        build: BuildEngine | None = None,
        cache: EngineCache | None = None,
        progress: Progress = log.info,
    ) -> None:
        self.cache = cache or EngineCache(default_folder())
        self._model = model
        self._manifest = manifest
        self._precision = precision
        self._build = build
        self._progress = progress
        self._refused: set[str] = set()
        own = variant(model, precision) if precision != "fp32" else None
        twin = variant(model, f"{precision}.fp16")
        try:
            self._onnx_sha256 = sha256_of(model)
            # Which of both an engine comes from, TensorRT's version decides.
            hashes = [sha256_of(path) for path in (own, twin) if path is not None]
            self._variant_sha256 = "+".join(hashes) or None
        except OSError as error:
            raise ModelError(f"{model}: cannot be read ({error}).") from error

    def key(self, machine: Machine, shape: Shape) -> EngineKey:
        """The key of the engine that is wanted."""
        return EngineKey(
            machine=machine,
            precision=self._precision,
            shape=shape,
            onnx_sha256=self._onnx_sha256,
            variant_sha256=self._variant_sha256,
        )

    def get(self, machine: Machine, shape: Shape) -> Engine:
        """See `Engines.get`."""
        key = self.key(machine, shape)
        found = self.cache.find(key, self._manifest.name)
        if found is not None:
            return found
        if self._build is None:
            raise EngineError(
                f"no engine of {self._manifest.name} for this machine ({machine.describe()}, "
                f"{self._precision}, {shape}) in {self.cache.folder}, and nothing here can build "
                "one. Build it with: patchwatch export MODEL.onnx --engine."
            )
        return self._built(self._build, key)

    def refused(self, engine: Engine) -> bool:
        """Remove it; returns whether it was the first of its kind, so that a rebuild may help."""
        digest = engine.sidecar.key.digest()
        self.cache.discard(engine)
        again = digest not in self._refused and self._build is not None
        self._refused.add(digest)
        return again

    def _built(self, build: BuildEngine, key: EngineKey) -> Engine:
        name = self._manifest.name
        with self.cache.building(key, lambda: self._progress("another process is building it")):
            found = self.cache.find(key, name)
            if found is not None:
                return found
            log.info(
                "no engine of %s for this machine yet (looked in %s): building one (%s, %s). "
                "The first build takes minutes, the next start seconds.",
                name,
                self.cache.folder,
                key.precision,
                key.shape,
            )
            request = EngineRequest(self._model, key, self.cache.folder)
            return self.cache.install(*build(request, self._progress))


class OneEngine:
    """An engine file named by its path, its sidecar beside it: it fits, or it is refused with the
    reason. EngineError where it is missing, damaged, or without a sidecar.
    """

    def __init__(self, path: Path) -> None:
        self.engine = read_engine(path)
        self._path = path

    @property
    def manifest(self) -> Manifest:
        """Of the model that it was built from."""
        return self.engine.sidecar.manifest

    def get(self, machine: Machine, shape: Shape) -> Engine:
        """See `Engines.get`."""
        key = self.engine.sidecar.key
        if key.machine != machine:
            wanted = key.model_copy(update={"machine": machine})
            raise EngineError(
                f"{self._path}: built for another machine; here is "
                f"{'; '.join(wanted.differences(key))}. An engine runs only where it was built: "
                "build it here with patchwatch export MODEL.onnx --engine."
            )
        if not key.shape.holds(shape.batch, shape.height, shape.width):
            raise EngineError(
                f"{self._path}: takes up to {key.shape} (frames, height, width), and {shape} is "
                "needed. Choose another --region, or give the model.onnx, whose engines are built "
                "for what is needed."
            )
        return self.engine

    def refused(self, engine: Engine) -> bool:
        """Nothing else can be had."""
        return False
