"""From a model file to an engine for this machine: found by its key, verified, or built.

Engines are kept in a folder, each installed whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.errors import EngineError, ModelError, SinkError
from edge.files import cache_folder, sha256_of, write_whole
from edge.labels import STANDARD, LabelFolders
from edge.manifest import Manifest, Precision
from edge.tensorrt.record import EngineKey, Machine, Shape, Sidecar, parse_sidecar
from edge.weights import variant

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "PATCHWATCH_ENGINES"
"""Names the folder for engines, in place of the user's cache."""

_ONNX_TAG = b"\x08"
"""Of an ONNX file's IR version, field 1, with which it begins; a plan never does."""


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """An engine that was verified, in memory; `path` is None if it could not be written."""

    plan: bytes
    sidecar: Sidecar
    path: Path | None


def default_folder() -> Path:
    """`$PATCHWATCH_ENGINES`, else `patchwatch/engines` in `$XDG_CACHE_HOME` or `~/.cache`."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given).expanduser() if given else cache_folder() / "engines"


def sidecar_path(engine: Path) -> Path:
    """`model.engine.json` beside `model.engine`."""
    return engine.with_name(engine.name + ".json")


def read_engine(path: Path) -> Engine:
    """An engine and its sidecar, checked against one another.

    Raises:
        EngineError: either is missing, unreadable or not of the other.
    """
    beside = sidecar_path(path)
    try:
        plan = path.read_bytes()
        if plan[:1] == _ONNX_TAG:
            raise EngineError(
                f"{path}: expected an engine, found what looks like an ONNX model. Give it with "
                "its own suffix: --model model.onnx --backend tensorrt builds the engine."
            )
        text = beside.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise EngineError(
            f"{path}: {Path(str(error.filename)).name} is missing; an engine is the file and its "
            ".json beside it. Copy both, or build it: patchwatch export MODEL.onnx --engine."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path}: cannot be read ({error}).") from error
    sidecar = parse_sidecar(text, str(beside))
    if hashlib.sha256(plan).hexdigest() != sidecar.engine_sha256:
        raise EngineError(
            f"{path}: expected the {sidecar.engine_bytes:,} bytes that its record names, found "
            f"{len(plan):,} that differ; it is truncated, damaged or another file. Build it again."
        )
    return Engine(plan, sidecar, path)


class EngineCache:
    """A folder of engines, made with the first; several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, key: EngineKey, name: str) -> Path:
        """Where an engine of that key lies, or would."""
        stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        return self.folder / f"{stem}-{key.precision}-{key.shape}-{key.digest()}.engine"

    def find(self, key: EngineKey, name: str) -> Engine | None:
        """The verified engine of a key; None for none or a damaged one, which is logged."""
        path = self.path_of(key, name)
        if not path.exists():
            return None
        try:
            engine = read_engine(path)
        except EngineError as error:
            log.warning("%s It will be rebuilt.", error)
            return None
        if engine.sidecar.key != key:
            log.warning("%s: its record is of another machine or model; rebuilding it.", path)
            return None
        return engine

    def install(self, plan: bytes, sidecar: Sidecar) -> Engine:
        """Keep an engine; if that fails it is used from memory, which is logged."""
        path = self.path_of(sidecar.key, sidecar.manifest.name)
        try:
            write_engine(path, plan, sidecar)
        except SinkError as error:
            log.warning(
                "the engine could not be kept in %s (%s), and will be built again next time. Make "
                "that folder writable, or name another in %s.",
                self.folder,
                error,
                FOLDER_VARIABLE,
            )
            return Engine(plan, sidecar, None)
        return Engine(plan, sidecar, path)

    def discard(self, engine: Engine) -> None:
        """Remove an engine that TensorRT refused although its bytes are right."""
        if engine.path is not None:
            for path in (sidecar_path(engine.path), engine.path):
                with suppress(OSError):
                    path.unlink()

    @contextmanager
    def building(self, key: EngineKey, waiting: Callable[[], None]) -> Iterator[None]:
        """Only one process builds an engine of a key; others call `waiting` once, and wait.

        In a folder that cannot be written each process builds its own.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / f".{key.digest()}.lock").open("a")
        except OSError:
            yield
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def write_engine(path: Path, plan: bytes, sidecar: Sidecar) -> None:
    """Write an engine and its sidecar, each whole or not at all; raises as `write_whole` does."""
    # A reader between the two finds a sidecar of other bytes, or none, and builds for itself.
    write_whole(path, plan)
    write_whole(sidecar_path(path), sidecar.to_json())


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
