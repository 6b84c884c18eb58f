"""What is known of files from earlier starts, so that each is decoded once and never again.

One SQLite file in the user's cache folder, or in a folder that is given; never in the data. A row
counts for a file as long as its size and its time of change are those of the row.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import PIL

from edge.errors import UsageError
from edge.files import cache_folder
from training.data.probe import Known

NAME = "pictures.sqlite"
_LAYOUT = 1
_TABLE = """
create table if not exists files (
    path blob primary key, size integer, changed_ns integer,
    width integer, height integer, format text, note integer, fault text, phash integer
) without rowid
"""
_log = logging.getLogger(__name__)

Stamp = tuple[bytes, int, int]
"""Path, size in bytes and time of change in ns of a file."""


class Ledger:
    """The file of what is known, open. Where it cannot be written, it lasts for this run only.

    Args:
        folder: to keep it in; the user's cache folder if None.
        data: the folder of the pictures.

    Raises:
        UsageError: the folder lies within the data.
    """

    def __init__(self, folder: Path | None, data: Path) -> None:
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
            self._connection = self._forgetful(error)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def look_up(self, stamps: Sequence[Stamp]) -> list[Known | None]:
        """What is known of files; None where nothing is, or the file has changed since."""
        try:
            rows = self._rows([path for path, _, _ in stamps])
        except sqlite3.Error as error:
            self._connection.close()
            self._connection = self._forgetful(error)
            return [None] * len(stamps)
        return [rows.get(stamp) for stamp in stamps]

    def store(self, rows: Iterable[tuple[Stamp, Known]]) -> None:
        """Keep what was learnt, at once and for good."""
        values = [(*stamp, *_values(known)) for stamp, known in rows]
        try:
            _write(self._connection, values)
        except sqlite3.Error as error:
            self._connection.close()
            self._connection = self._forgetful(error)
            _write(self._connection, values)

    def _rows(self, paths: Sequence[bytes]) -> dict[Stamp, Known]:
        marks = ",".join("?" * len(paths))
        found = self._connection.execute(f"select * from files where path in ({marks})", paths)
        return {(path, size, changed): _known(rest) for path, size, changed, *rest in found}

    def _forgetful(self, error: Exception) -> sqlite3.Connection:
        _log.warning(
            "%s cannot be used (%s): what is found now is forgotten at the end. Make the folder "
            "writable, delete a damaged file, or name another folder.",
            self._path,
            error,
        )
        # A nameless database of SQLite: it spills to a temporary file instead of filling memory.
        return _opened("")


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


def _write(connection: sqlite3.Connection, values: Sequence[tuple[object, ...]]) -> None:
    with connection:
        connection.executemany("insert or replace into files values (?,?,?,?,?,?,?,?,?)", values)


def _values(known: Known) -> tuple[object, ...]:
    # SQLite's integers have a sign.
    phash = None if known.phash is None else known.phash - (1 << 63)
    return known.width, known.height, known.format, known.note, known.fault, phash


def _known(values: Sequence[object]) -> Known:
    width, height, kind, note, fault, phash = values
    assert isinstance(width, int) and isinstance(height, int) and isinstance(note, int)
    hashed = phash + (1 << 63) if isinstance(phash, int) else None
    return Known(width, height, str(kind), note, str(fault), hashed)
