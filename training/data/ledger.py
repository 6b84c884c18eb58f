"""What is known of files from earlier starts, so that each is decoded once and never again.

One SQLite file in the user's cache folder, or in a folder that is given; never in the data. A row
counts for a file as long as its size and its time of change are those of the row.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import TypeVar

import PIL

from edge.errors import UsageError
from edge.files import cache_folder
from training.data.probe import Probed

NAME = "pictures.sqlite"
_LAYOUT = 2
_TABLE = """
create table if not exists files (
    path blob primary key, size integer, changed_ns integer,
    width integer, height integer, format text, note integer, fault text, phash blob
) without rowid
"""
_INSERT = "insert or replace into files values (?,?,?,?,?,?,?,?,?)"
_WRITTEN_AT_ONCE = 500
_log = logging.getLogger(__name__)
T = TypeVar("T")

Stamp = tuple[bytes, int, int]
"""Path, size in bytes and time of change in ns of a file."""


class Ledger:
    """The file of what is known, open. Where it cannot be written, it lasts for this run only.

    Raises:
        UsageError: the folder (the user's cache folder if None) lies within the data.
    """

    def __init__(self, folder: Path | None, data: Path) -> None:
        self._fresh: dict[Stamp, Probed] = {}
        place = folder or cache_folder()
        if place.resolve().is_relative_to(data.resolve()):
            raise UsageError(
                f"the cache folder {place} lies within the data {data}. Name one outside of it."
            )
        self._path = place / NAME
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._connection = _opened(str(self._path))
        except (OSError, sqlite3.Error) as error:
            self._forget(error)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        # Also after Ctrl-C: what was decoded until then need not be again.
        self._write()
        self._connection.close()

    def get(self, stamp: Stamp) -> Probed | None:
        """What is known of a file; None where nothing is, or the file has changed since."""
        if stamp in self._fresh:
            return self._fresh[stamp]
        question = "select * from files where path = ?"
        row = self._with(lambda sqlite: sqlite.execute(question, stamp[:1]).fetchone())
        return Probed(*row[3:]) if row and row[:3] == stamp else None

    def keep(self, stamp: Stamp, probed: Probed) -> None:
        """Keep what was learnt; a run that is killed loses some hundred at most."""
        self._fresh[stamp] = probed
        if len(self._fresh) == _WRITTEN_AT_ONCE:
            self._write()

    def _write(self) -> None:
        """All at once, as nobody else can write meanwhile."""
        rows = [(*stamp, *astuple(probed)) for stamp, probed in self._fresh.items()]

        def write(sqlite: sqlite3.Connection) -> None:
            with sqlite:
                sqlite.executemany(_INSERT, rows)

        self._with(write)
        self._fresh.clear()

    def _with(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            self._connection.close()
            self._forget(error)
            return work(self._connection)

    def _forget(self, error: Exception) -> None:
        _log.warning(
            "%s cannot be used (%s): what is found now is forgotten at the end. Make the folder "
            "writable, delete a damaged file, or name another folder.",
            self._path,
            error,
        )
        # A nameless database of SQLite: it spills to a temporary file instead of filling memory.
        self._connection = _opened("")


def _opened(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("pragma synchronous = normal")
    with connection:
        (layout,) = connection.execute("pragma user_version").fetchone()
        if layout != _LAYOUT:
            connection.execute("drop table if exists files")
            connection.execute(f"pragma user_version = {_LAYOUT}")
        connection.execute(_TABLE)
        connection.execute("create table if not exists reader (version text)")
        # Another reader may decode what this one could not.
        if connection.execute("select version from reader").fetchone() != (PIL.__version__,):
            connection.execute("delete from files where fault != ''")
            connection.execute("delete from reader")
            connection.execute("insert into reader values (?)", (PIL.__version__,))
