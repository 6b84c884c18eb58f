"""What is known of files from earlier starts, so that each is decoded once and never again.

One SQLite file in the user's cache folder, or in a folder that is given; never in the data. A row
counts for a file as long as its size and its time of change are those of the row. Another version
of Pillow, which may decode what this one could not, has a file of its own.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import PIL

from edge.errors import UsageError
from edge.files import cache_folder
from training.data.probe import Probed
from training.files import Stamp

NAME = f"pictures-3-pillow-{PIL.__version__}.sqlite"
_TABLE = "create table if not exists files (path blob primary key, stamp text, known text)"
_log = logging.getLogger(__name__)


class Ledger:
    """The file of what is known, open. Where it cannot be used, it lasts for this run only.

    Raises:
        UsageError: the folder (the user's cache folder if None) lies within the data.
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
            self._sqlite = _opened(str(self._path))
        except (OSError, sqlite3.Error) as error:
            self._forget(error)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self._sqlite.close()

    def get(self, stamp: Stamp) -> Probed | None:
        """What is known of a file; None where nothing is, or the file has changed since."""
        question = "select known from files where path = ? and stamp = ?"
        try:
            row = self._sqlite.execute(question, _key(stamp)).fetchone()
        except sqlite3.Error as error:
            self._forget(error)
            return None
        return Probed(*json.loads(row[0])) if row else None

    def keep(self, found: Iterable[tuple[Stamp, Probed]]) -> None:
        """Keep what was learnt of some files."""
        rows = [(*_key(stamp), json.dumps(probed)) for stamp, probed in found]
        for _ in range(2):
            try:
                with self._sqlite:
                    self._sqlite.executemany("insert or replace into files values (?,?,?)", rows)
                return
            except sqlite3.Error as error:
                self._forget(error)

    def _forget(self, error: Exception) -> None:
        _log.warning(
            "%s cannot be used (%s): what is found now is forgotten at the end. Make the folder "
            "writable, delete a damaged file, or name another folder.",
            self._path,
            error,
        )
        self._sqlite = _opened("")  # nameless: it spills to a temporary file


def _key(stamp: Stamp) -> tuple[bytes, str]:
    return os.fsencode(stamp[0]), f"{stamp[1]} {stamp[2]}"


def _opened(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("pragma synchronous = normal")
        connection.execute(_TABLE)
    except BaseException:
        connection.close()
        raise
    return connection
