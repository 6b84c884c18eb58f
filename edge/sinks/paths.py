"""What the sinks that write files share: opening without harm, names, and errors in words."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from edge.errors import SinkError
from edge.files import sink_error

PLACE = "{camera}"
"""In the name of a file: becomes the name of the camera."""

_SUFFIX = re.compile(r"\.[A-Za-z]\w*$")

_YEAR_9999 = 253_000_000_000.0

# Room for an index and a suffix in the 255 bytes of a file name, at up to 4 bytes a character.
_LONGEST_STEM = 50


def open_unharmed(path: Path) -> FileIO:
    """Open a file for writing and leave what it holds; it is created where it does not exist.

    Proves before a run that the file can be written, while a run that fails early loses nothing.
    Unbuffered, so that closing it after a failed write cannot fail again.

    Raises:
        SinkError: it cannot be written.
    """

    def without_truncating(name: str, flags: int) -> int:
        # Appending, so that a file which others truncate (logrotate) has no hole.
        return os.open(name, (flags & ~os.O_TRUNC) | os.O_APPEND, 0o666)

    try:
        return open(path, "wb", buffering=0, opener=without_truncating)
    except OSError as error:
        raise sink_error(path, error) from error


def check_file(path: Path) -> None:
    """See whether a file can be written, else raise a SinkError; leaves everything as it is."""
    existed = os.path.lexists(path)  # unlike exists(), it takes a name that is too long
    open_unharmed(path).close()
    if not existed:
        path.unlink()


def make_folder(folder: Path, purpose: str) -> None:
    """Create a folder with its parents, for "pictures" for instance, and try to write into it.

    Raises:
        SinkError: it cannot be created or written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError as error:
        raise SinkError(
            f"{folder} is a file, and a folder for {purpose} was expected. Give another name."
        ) from error
    except OSError as error:
        raise sink_error(folder, error) from error


def refuse_source(path: Path, source: str) -> None:
    """Raise a SinkError where a file that is about to be written is the source."""
    try:
        same = path.samefile(source)
    except (OSError, ValueError):
        same = False
    if same:
        raise SinkError(f"{path} is the source itself and is not overwritten. Give another name.")


def file_stem(source: str) -> str:
    """A file name, without folder and suffix, for what came from a source.

    A path gives its stem, an address its host and path, the name of a camera all of it; what file
    systems may refuse becomes `-`.
    """
    scheme, found, address = source.partition("://")
    if found:
        stem = address.split("?")[0]
    elif "/" in source[1:] and source[0] != "/" and not _SUFFIX.search(source):
        stem = source  # the name of a camera, such as East/1
    else:
        stem = Path(scheme).stem
    return re.sub(r"[^\w.]+", "-", stem).strip("-.")[:_LONGEST_STEM] or "frame"


def placed(path: str, name: str) -> str:
    """The name of a file, with that of the camera where `{camera}` stands."""
    return path.replace(PLACE, file_stem(name))


def local_stamp(unix_s: float, layout: str = "%Y%m%d-%H%M%S") -> str:
    """Local time, as `YYYYmmdd-HHMMSS`; the present where a clock gave what is no date."""
    if not 0 <= unix_s < _YEAR_9999:
        unix_s = time.time()
    return time.strftime(layout, time.localtime(unix_s))


def free_name(folder: Path, base: str, suffixes: Sequence[str]) -> str:
    """The first of `base`, `base-2`, `base-3` … that no file has with any of the suffixes.

    A stamp comes twice where two fall into one second, or where a clock was set back.
    """
    name, number = base, 1
    while any(os.path.lexists(folder / f"{name}{suffix}") for suffix in suffixes):
        number += 1
        name = f"{base}-{number}"
    return name


def stamped_files(path: Path) -> list[Path]:
    """The files that runs left by this name and a stamp, the oldest first.

    By when they were last written to, for a name may hold the time of a clock that was wrong; a
    board without a battery begins in 1970.
    """
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    pattern = re.compile(rf"{stem}_([0-9]{{8}}-[0-9]{{6}})(?:-([0-9]+))?{suffix}")
    found: list[tuple[int, str, int, Path]] = []
    for file in path.parent.iterdir():
        match = pattern.fullmatch(file.name)
        # A file may go meanwhile; a link or a folder is nothing that a run left.
        with suppress(OSError):
            if match and stat.S_ISREG((status := file.lstat()).st_mode):
                found.append((status.st_mtime_ns, match[1], int(match[2] or 1), file))
    return [file for *_, file in sorted(found)]
