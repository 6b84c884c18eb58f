"""JSON lines: one object per result, in a file or on standard output."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydantic import Field
from typing_extensions import Self

from edge.files import sink_error
from edge.record import to_record
from edge.schema import Strict
from edge.signals import hangup_count, uninterrupted
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.paths import (
    check_file,
    free_name,
    local_stamp,
    open_unharmed,
    placed,
    refuse_source,
    stamped_files,
)
from edge.types import Picture, Result

if TYPE_CHECKING:
    from edge.config.parts import OutputConfig

STDOUT = "-"
_STDOUT, _STDERR = 1, 2


class JsonRotation(Strict):
    """When a file of JSON lines is full, and how many are kept."""

    every_s: float | None = Field(default=None, gt=0, description="Begin a new file after it.")
    mb: float | None = Field(default=None, gt=0, description="Begin one at this size, 10^6 bytes.")
    keep_files: int | None = Field(
        default=None, gt=0, description="Keep the newest, beside the present; null for all."
    )

    @property
    def rotates(self) -> bool:
        """Whether a file is ever full."""
        return self.every_s is not None or self.mb is not None

    def is_full(self, size: int, began_s: float) -> bool:
        """Whether a file of a size in bytes, begun at a monotonic time, takes no further line."""
        too_old = self.every_s is not None and time.monotonic() - began_s >= self.every_s
        return too_old or (self.mb is not None and size >= self.mb * 1e6)


class JsonLinesSink(ConfiguredSink):
    """Writes each result as one line of JSON (UTF-8), at once, so that `tail -f` follows it.

    A file that exists is overwritten when the first result comes, or at the end of a run without
    results; a run that fails before its first result leaves it as it was. Entered again, after a
    failure, it appends to what it wrote. After a SIGHUP it is opened anew, as whoever rotates logs
    has put another in its place.

    With `rotation`, a file that is full gets a stamp in its name, as does one of an earlier run,
    and the next begins; of those with a stamp the newest are kept.

    Args:
        path: the file, or `-` for standard output.
        rotation: when the next file begins.
    """

    name = "json"

    def __init__(self, path: str | Path, rotation: JsonRotation | None = None) -> None:
        self._to_stdout = str(path) == STDOUT
        self._path = Path("standard output") if self._to_stdout else Path(path)
        self._file: BinaryIO | FileIO | None = None
        self._started = False
        self._rotation = rotation or JsonRotation()
        self._began_s = self._hangups = 0.0

    @classmethod
    def from_options(cls, options: OutputConfig, context: SinkContext) -> Self:
        """From the key `output.json_lines`."""
        return cls(placed(str(options.json_lines), context.name), options.json_rotate)

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
            self._open()
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
        if not self._to_stdout:
            self._prepare(result.frame.source)
        self._started = True
        line = json.dumps(to_record(result), ensure_ascii=False, allow_nan=False) + "\n"
        if self._file is None:
            raise ValueError("a sink takes results only inside its with block")
        try:
            # A file name that is not UTF-8 becomes a \udcXX escape, which JSON allows.
            with uninterrupted():
                _put(self._file, line.encode("utf-8", "backslashreplace"))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise sink_error(self._path, error) from error

    def _open(self) -> None:
        self._file = open_unharmed(self._path)
        self._hangups, self._began_s = hangup_count(), time.monotonic()

    def _prepare(self, source: str) -> None:
        """Make sure that the next line goes into the file where it belongs."""
        if self._file is None:
            return
        status = os.fstat(self._file.fileno())
        if self._started and self._hangups != hangup_count():
            before, began_s = status, self._began_s
            self._file.close()
            self._open()
            status = os.fstat(self._file.fileno())
            if os.path.samestat(before, status):  # nobody put another in its place
                self._began_s = began_s
        if not self._started:
            refuse_source(self._path, source)
            if not (status.st_size and self._rotation.rotates):
                _empty(self._file)
                return
        if stat.S_ISREG(status.st_mode) and (
            not self._started or self._rotation.is_full(status.st_size, self._began_s)
        ):
            self._rotate(status.st_mtime)

    def _rotate(self, written: float) -> None:
        stem, suffix = self._path.stem, self._path.suffix
        base = f"{stem}_{local_stamp(time.time() if self._started else written)}"
        name = free_name(self._path.parent, base, [suffix])
        try:
            self._path.rename(self._path.with_name(name + suffix))
            if self._file is not None:
                self._file.close()
            self._open()
            if self._rotation.keep_files is not None:
                for old in stamped_files(self._path)[: -self._rotation.keep_files]:
                    old.unlink(missing_ok=True)
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
