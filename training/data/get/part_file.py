"""A download that survives a kill: what is on the disk, and of which version of the file.

Beside NAME.part lies NAME.part.json, which says how many bytes have reached the disk. It is written
after every block of FLUSH_BYTES, so a kill or a power cut loses at most the block in hand.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from training.data.get.errors import FetchError, disk_error

FLUSH_BYTES = 8 * 2**20
"""Bytes between two writings to the disk."""


class Version(BaseModel):
    """Which file an address gave.

    Attributes:
        address: where it came from.
        validator: a strong ETag or a Last-Modified date, by which a server can tell that the file
            is still the same; None where it gave neither.
        total: bytes of the whole file; None where the server did not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    validator: str | None = None
    total: int | None = None


class _State(Version):
    flushed: int


class PartFile:
    """An open NAME.part that grows at its end.

    Args:
        target: the name it gets when it is whole.
        file: NAME.part, open.
    """

    def __init__(self, target: Path, file: FileIO) -> None:
        self._target, self._file = target, file
        self._unflushed = 0
        state = _read_state(_state_path(target))
        self.version = state and Version(**state.model_dump(exclude={"flushed"}))
        self.size = self._sound_bytes(state)
        self._cut(self.size)

    def restart(self, version: Version) -> None:
        """Throw away what came so far; another version begins."""
        # The note goes first: it must never speak of bytes of another version.
        _state_path(self._target).unlink(missing_ok=True)
        self._cut(0)
        self.size, self.version, self._unflushed = 0, version, 0

    def write(self, data: bytes) -> None:
        """Add bytes at the end.

        Raises:
            FetchError: the disk is full, or cannot be written.
        """
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise disk_error(self._target, error) from error
        self.size += len(data)
        self._unflushed += len(data)
        if self._unflushed >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Bring everything to the disk and note how much that is.

        Raises:
            FetchError: the disk is full, or cannot be written.
        """
        if self.version is None:
            return
        try:
            os.fsync(self._file.fileno())
            state = _State(**self.version.model_dump(), flushed=self.size)
            _write_whole(_state_path(self._target), state.model_dump_json())
        except OSError as error:
            raise disk_error(self._target, error) from error
        self._unflushed = 0

    def _cut(self, size: int) -> None:
        if os.fstat(self._file.fileno()).st_size != size:
            self._file.truncate(size)

    def _sound_bytes(self, state: _State | None) -> int:
        size = os.fstat(self._file.fileno()).st_size
        return min(size, state.flushed) if state else 0


@contextmanager
def open_part(target: Path) -> Iterator[PartFile]:
    """NAME.part, kept for one process alone; whatever happens, what came is brought to the disk.

    Args:
        target: the file that it is a part of; its folder exists.

    Raises:
        FetchError: it cannot be written, or another run is writing it.
    """
    try:
        file = part_path(target).open("ab+", buffering=0)
    except OSError as error:
        raise disk_error(target, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(
                f"{part_path(target)} is being written by another run. Wait for it, or stop it."
            ) from error
        part = PartFile(target, file)
        try:
            yield part
        except BaseException:
            with suppress(FetchError):  # what came between says more
                part.flush()
            raise
        part.flush()


def finish(target: Path) -> None:
    """Give a whole NAME.part its name."""
    os.replace(part_path(target), target)
    _state_path(target).unlink(missing_ok=True)


def set_aside(target: Path) -> Path:
    """Rename a NAME.part whose bytes are wrong, so that nothing continues from it."""
    bad = target.with_name(f"{target.name}.bad")
    os.replace(part_path(target), bad)
    _state_path(target).unlink(missing_ok=True)
    return bad


def part_path(target: Path) -> Path:
    """Where the download of a file grows."""
    return target.with_name(f"{target.name}.part")


def _state_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def _read_state(path: Path) -> _State | None:
    try:
        return _State.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


def _write_whole(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
