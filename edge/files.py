"""Files: written whole, hashed, and where the program keeps what it can make again."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edge.errors import SinkError
from edge.signals import uninterrupted

_CHUNK_BYTES = 1 << 20

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space or write to another disk.",
    errno.EDQUOT: "the disk quota is used up. Free some space or write to another disk.",
    errno.EFBIG: "the file has reached the largest size allowed here. Write to another disk.",
    errno.EACCES: "permission is denied. Choose a place that you may write to.",
    errno.EPERM: "permission is denied. Choose a place that you may write to.",
    errno.EROFS: "the disk is read-only. Choose a place that you may write to.",
    errno.EISDIR: "it is a folder. Give the name of a file.",
    errno.ENOTDIR: "a part of its path is a file, not a folder. Correct the path.",
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter one.",
}


def cache_folder() -> Path:
    """Where files that can be made again are kept: `$XDG_CACHE_HOME` or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "patchwatch"


def environment_cache() -> Path:
    """The same for what holds for the installed packages only: with them, in a virtual environment.

    In the other place where that was named, or where the environment cannot be written.
    """
    own = Path(sys.prefix)
    if (
        os.environ.get("XDG_CACHE_HOME")
        or own == Path(sys.base_prefix)
        or not os.access(own, os.W_OK)
    ):
        return cache_folder()
    return own / "var" / "cache" / "patchwatch"


def sha256_of(path: Path, on_chunk: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Args:
        path: the file.
        on_chunk: called between pieces of it, so that a long file can be interrupted.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_chunk()
    return digest.hexdigest()


@contextmanager
def written_whole(path: Path, data: bytes) -> Iterator[None]:
    """Write a temporary file at once, and move it into place when the block ends without an error.

    Args:
        path: the file; replaced if it exists, its folder made where it is absent.
        data: all of it.

    Raises:
        SinkError: the folder cannot be made, or the file cannot be written there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        yield
        with _named(path):
            os.replace(part, path)
    finally:
        with suppress(OSError):  # gone already, or its folder could not be made
            part.unlink()


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file such that it is never seen half written; text as UTF-8.

    Raises:
        SinkError: the folder cannot be made, or the file cannot be written there.
    """
    with written_whole(path, data.encode() if isinstance(data, str) else data):
        pass


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files aside, then put all in place; a stop signal waits for the second part.

    Args:
        folder: made where it is absent.
        files: name → content; existing ones are replaced.

    Raises:
        SinkError: the folder cannot be made, or a file cannot be written there.
    """
    with ExitStack() as stack:
        for name, data in files.items():
            stack.enter_context(written_whole(folder / name, data))
        written = stack.pop_all()
    with uninterrupted():
        written.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise sink_error(path, error) from error


def sink_error(path: Path, error: OSError) -> SinkError:
    """Say in words why `path` cannot be written."""
    if error.errno == errno.ENOENT and not path.parent.exists():
        reason = f"there is no folder {path.parent}. Create it first, or correct the path."
    else:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}.")
    return SinkError(f"{path} cannot be written: {reason}")
