"""Where engines are kept: found by key, verified before use, installed whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EngineError, SinkError
from edge.files import cache_folder, write_whole
from edge.tensorrt.record import EngineKey, Sidecar, parse_sidecar

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
