"""The files that a run is told to write: none that it reads, none that exists, none of another run.

Asked before anything is opened, for every output and every source together. Paths are compared as
files, so that links, case and ways of writing a path do not matter.
"""

from __future__ import annotations

import fcntl
import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edge.config import RunConfig
from edge.errors import UsageError
from edge.files import sink_error
from edge.sinks import wanted
from edge.sources import expand
from edge.sources.address import scheme_of
from edge.weights import find_model

_FLAGS = {"recording": "--save", "lines": "--json", "report": "--report"}


@contextmanager
def claimed_outputs(config: RunConfig, read: Sequence[Path] = ()) -> Iterator[None]:
    """Hold the files that a configuration writes for as long as the block runs.

    Args:
        config: with its source or cameras.
        read: files that are read besides sources and model, such as the configuration.

    Raises:
        UsageError: two outputs are one file, or one is something that is read, exists (without
            `output.overwrite`), or is written by another process.
        SinkError: a file cannot be written.
    """
    places = _places(config)
    taken: dict[str, str] = {}
    for path, flag, _ in places:
        real = os.path.realpath(path)
        if taken.setdefault(real, flag) != flag:
            raise UsageError(
                f"{taken[real]} and {flag} both write {path}. Give each a file of its own."
            )
    present = {path: kept for path, _, kept in places if os.path.isfile(path)}
    for path, kept in present.items():
        _refuse_read(path, config, read)
        if path.stat().st_size and not (kept or config.output.overwrite):
            raise UsageError(
                f"{path} exists already and is not overwritten. Give another name, or --overwrite "
                "to replace it."
            )
    with ExitStack() as stack:
        for path in dict.fromkeys(path for path, _, _ in places):
            if path in present or (path.parent.is_dir() and not os.path.lexists(path)):
                stack.enter_context(_locked(path))
        yield


def _places(config: RunConfig) -> list[tuple[Path, str, bool]]:
    """Files by name, the flag that asked for each, and whether what exists there is kept.

    Recordings that rotate find free names; lines that rotate rename an earlier run's file.
    """
    return [
        (
            Path(place),
            _FLAGS[kind.name],
            kind.name == "lines" and options.output.json_rotate.rotates,
        )
        for options, name in config.named_sources()
        for kind in wanted(options)
        if kind.name in _FLAGS and (place := kind.place(options, name)) not in (None, "-")
        if not (kind.name == "recording" and (options.output.rotate_s or options.output.rotate_mb))
    ]


def _refuse_read(path: Path, config: RunConfig, read: Sequence[Path]) -> None:
    sources = [*config.pictures, *(one.source for one in config.cameras)]
    if config.source is not None:  # an empty one would be the whole working directory
        sources.append(config.source)
    what = [("the model", find_model(config.model)), *(("a file that is read", p) for p in read)]
    what += [("a source", file) for text in sources for file in _files_of(text)]
    for role, file in what:
        with suppress(OSError, ValueError):
            if path.samefile(file):
                raise UsageError(
                    f"{path} is {role} ({file}) and is not overwritten. Give another name."
                )


def _files_of(source: str) -> Iterator[Path]:
    if scheme_of(source) is not None:
        return
    path = expand(source)
    if path.is_dir():
        for where, _, names in os.walk(path):
            yield from (Path(where, name) for name in names)
    elif os.path.lexists(path):
        yield path
    else:
        yield from map(Path, glob.iglob(source, recursive=True))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    new = not path.exists()
    try:
        held = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise sink_error(path, error) from error
    try:
        with suppress(OSError):  # a network file system may know no locks
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                new = False
                raise UsageError(
                    f"{path} is in use: another process writes it. Give another name."
                ) from None
        yield
    finally:
        opened = os.fstat(held)
        with suppress(OSError):  # what is written whole has replaced the file that was opened
            if new and not opened.st_size and os.path.samestat(path.stat(), opened):
                path.unlink()
        os.close(held)
