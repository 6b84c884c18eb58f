"""JSON lines: one object per result, in a file or on standard output."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from typing_extensions import Self

from edge.files import sink_error
from edge.record import to_record
from edge.signals import uninterrupted
from edge.sinks.base import SinkContext
from edge.sinks.paths import check_file, open_unharmed, placed, refuse_source
from edge.types import Picture, Result

if TYPE_CHECKING:
    from edge.config.parts import OutputConfig

STDOUT = "-"
_STDOUT, _STDERR = 1, 2


class JsonLinesSink:
    """Writes each result as one line of JSON (UTF-8), at once, so that `tail -f` follows it.

    A file that exists is overwritten when the first result comes, or at the end of a run without
    results; a run that fails before its first result leaves it as it was. Entered again, after a
    failure, it appends to what it wrote.

    Args:
        path: the file, or `-` for standard output.
    """

    name = "json"
    wants_picture = False

    def __init__(self, path: str | Path) -> None:
        self._to_stdout = str(path) == STDOUT
        self._path = Path("standard output") if self._to_stdout else Path(path)
        self._file: BinaryIO | FileIO | None = None
        self._started = False

    @classmethod
    def from_options(cls, options: OutputConfig, context: SinkContext) -> Self:
        """From the key `output.json_lines`."""
        return cls(placed(str(options.json_lines), context.name))

    def check(self) -> None:
        """See whether the file can be written."""
        if not self._to_stdout and (self._path.is_file() or not self._path.exists()):
            check_file(self._path)

    def __enter__(self) -> Self:
        """Open the file."""
        if self._to_stdout:
            sys.stdout.flush()
            self._file = sys.stdout.buffer
        else:
            self._file = open_unharmed(self._path)
            if self._started and self._file.seekable():
                self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        file, self._file = self._file, None
        if file is None or self._to_stdout:
            return
        with file:
            if error is None and not self._started:
                _empty(file)

    def write(self, result: Result, picture: Picture) -> None:
        """Write one line; raises BrokenPipeError where the reader of stdout has gone (`| head`)."""
        if self._file is None:
            raise ValueError("a sink takes results only inside its with block")
        if not (self._started or self._to_stdout):
            refuse_source(self._path, result.frame.source)
            _empty(self._file)
        self._started = True
        line = json.dumps(to_record(result), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            # A file name that is not UTF-8 becomes a \udcXX escape, which JSON allows.
            with uninterrupted():
                _put(self._file, line.encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise sink_error(self._path, error) from error


def _put(file: BinaryIO | FileIO, line: bytes) -> None:
    # An unbuffered file may take a part; trying the rest is what reports a full disk.
    rest = memoryview(line)
    while rest:
        rest = rest[file.write(rest) :]
    file.flush()


def _empty(file: BinaryIO | FileIO) -> None:
    """Drop what the file held; a pipe or a device (/dev/stdout) holds nothing."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.truncate(0)


@contextmanager
def stdout_for_lines() -> Iterator[None]:
    """Keep standard output for what Python writes; what C libraries print there goes to stderr.

    The driver of a CSI camera, for one, announces itself on standard output, among our lines.
    """
    python = sys.stdout
    try:
        ours = python.fileno() == _STDOUT
    except (OSError, io.UnsupportedOperation):  # there is none, or someone holds it in memory
        ours = False
    if not ours:
        yield
        return
    python.flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with open(kept, "w", encoding="utf-8", closefd=False) as sys.stdout:
            yield
    finally:
        sys.stdout = python
        os.dup2(kept, _STDOUT)
        os.close(kept)
