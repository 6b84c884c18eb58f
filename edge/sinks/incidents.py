"""Incidents in one SQLite file, with pictures, for the page and whoever asks by SQL."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from edge.decision.alerts import AlertSettings
from edge.errors import SinkError
from edge.sinks.base import ConfiguredSink, SinkContext
from edge.sinks.feed import EventFeed, Record
from edge.sinks.images import encode_image
from edge.sinks.leftovers import is_running, run_id
from edge.sinks.paths import check_file, make_folder, placed
from edge.sinks.retention import Retention
from edge.types import Picture, Result

if TYPE_CHECKING:
    from edge.config import RunConfig
    from edge.config.parts import AlertConfig

_log = logging.getLogger(__name__)

_COLUMNS = (
    "id", "source", "state", "began", "raised", "ended", "duration_s", "score", "highest_score",
    "threshold", "reason", "fault", "run", "interrupted",
)  # fmt: skip
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS incidents ({", ".join(_COLUMNS)}, snapshot BLOB, PRIMARY KEY (id));
    CREATE INDEX IF NOT EXISTS incidents_began ON incidents (began);
    PRAGMA user_version = 1;
"""
_SHOWN = ", ".join((*_COLUMNS, "snapshot IS NOT NULL AS has_snapshot"))
_ROW_BYTES = 400
_LOOK_S = 3600.0


class IncidentStore:
    """A file of incidents; several processes may use it at once. A context manager for none.

    Each call opens the file for itself, so that any thread may call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Create the file where it is absent.

        Raises:
            SinkError: it cannot be written, or is something else.
        """
        make_folder(self._path.parent, "incidents")
        with self._open() as database:
            if database.execute("PRAGMA user_version").fetchone()[0] > 1:
                raise SinkError(f"{self._path} was written by a newer version. Name another file.")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)

    def put(self, record: Record, snapshot: bytes | None = None) -> None:
        """Write an incident, or what became of it; a picture that is there stays."""
        values = [record.get(name) for name in _COLUMNS]
        marks = ", ".join("?" * len(_COLUMNS))
        change = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
        with self._open() as database:
            database.execute(
                f"INSERT INTO incidents ({', '.join(_COLUMNS)}, snapshot) VALUES ({marks}, ?) "
                f"ON CONFLICT (id) DO UPDATE SET {change}",
                [*values, snapshot],
            )

    def page(
        self, limit: int, before: tuple[float, str] | None = None, camera: str | None = None
    ) -> list[Record]:
        """The newest incidents, or those before one (its `began` and `id`), newest first."""
        where, values = [], []
        if before is not None:
            where, values = ["(began, id) < (?, ?)"], list[object](before)
        if camera is not None:
            where, values = [*where, "source = ?"], [*values, camera]
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        with self._open() as database:
            rows = database.execute(
                f"SELECT {_SHOWN} FROM incidents {condition} ORDER BY began DESC, id DESC LIMIT ?",
                [*values, limit],
            )
            return [_record(row) for row in rows]

    def get(self, key: str) -> Record | None:
        """One incident; None where there is none of this id."""
        with self._open() as database:
            row = database.execute(f"SELECT {_SHOWN} FROM incidents WHERE id = ?", [key]).fetchone()
        return None if row is None else _record(row)

    def snapshot(self, key: str) -> bytes | None:
        """The picture of an incident, JPEG; None where there is none."""
        with self._open() as database:
            row = database.execute("SELECT snapshot FROM incidents WHERE id = ?", [key]).fetchone()
        return None if row is None else row[0]

    def close_left(self, camera: str) -> None:
        """Close what runs that died left open, and what a failure in this run left of a camera.

        It ended when it was last known to last.
        """
        ours = run_id(), camera
        with self._open() as database:
            rows = database.execute("SELECT id, run, source FROM incidents WHERE ended IS NULL")
            left = [
                (row["id"],)
                for row in rows.fetchall()
                if (row["run"], row["source"]) == ours or not is_running(row["run"])
            ]
            database.executemany(
                "UPDATE incidents SET ended = began + duration_s, interrupted = 1 WHERE id = ?",
                left,
            )

    def delete_old(self, retention: Retention) -> None:
        """Delete what is too old, and the oldest of what is too much; never what lasts."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT id, began, ended, {_ROW_BYTES} + ifnull(length(snapshot), 0) AS size "
                "FROM incidents ORDER BY began DESC"
            ).fetchall()
            total, now, old = 0, time.time(), []
            for row in rows:
                total += row["size"]
                too_old = now - row["began"] > retention.keep_s
                if row["ended"] is not None and (too_old or total > retention.keep_bytes):
                    old.append((row["id"],))
            database.executemany("DELETE FROM incidents WHERE id = ?", old)
        if old:
            with self._open() as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
                database.row_factory = sqlite3.Row
                yield database
        except sqlite3.Error as error:
            raise SinkError(
                f"{self._path}: incidents cannot be kept there ({error}). Name another file."
            ) from error


def stores_of(config: RunConfig) -> list[IncidentStore]:
    """The files that the cameras of a run write to, each once."""
    paths = {
        placed(str(of.alerts.database), name): None
        for of, name in config.named_sources()
        if of.alerts.database is not None
    }
    return [IncidentStore(Path(path)) for path in paths]


def _record(row: sqlite3.Row) -> Record:
    record = dict(row)
    record["interrupted"] = bool(record["interrupted"])
    record["has_snapshot"] = bool(record["has_snapshot"])
    return record


class IncidentsSink(ConfiguredSink):
    """Keeps incidents in a SQLite file, which cameras share; the file is made where it is absent.

    The picture is that of when the incident was raised. What is old goes as `retention` says, when
    one is raised and once an hour.
    """

    name = "incidents"

    def __init__(
        self,
        path: Path,
        settings: AlertSettings,
        camera: str,
        *,
        snapshot: bool = True,
        retention: Retention | None = None,
    ) -> None:
        self._path, self.store = path, IncidentStore(path)
        self._feed, self._camera = EventFeed(settings, camera), camera
        self._snapshot = snapshot
        self._retention = retention or Retention()
        self._looked_s = 0.0

    @classmethod
    def from_options(cls, options: AlertConfig, context: SinkContext) -> Self:
        """From the section `alerts`."""
        return cls(
            Path(placed(str(options.database), context.name)),
            options,
            context.name,
            snapshot=options.snapshot,
            retention=Retention.of(options.keep_days, options.keep_mb),
        )

    def check(self) -> None:
        """Create its folder."""
        if self._path.exists():
            self.store.check()
        else:
            make_folder(self._path.parent, "incidents")
            check_file(self._path)

    def __enter__(self) -> Self:
        """Create the file; what a failure or a run that died left unfinished is closed."""
        self._feed.restart()
        with _opening:
            self.check()
            self.store.check()
            self.store.close_left(self._camera)
        self._delete_old()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with suppress(SinkError) if error is not None else nullcontext():
            for record in self._feed.finish():
                self.store.put(record)

    def write(self, result: Result, picture: Picture) -> None:
        """Take a result; a picture is drawn only if an incident is raised."""
        for record in self._feed.take(result):
            raised = record["ended"] is None
            self.store.put(record, self._drawn(picture) if raised else None)
            if raised:
                self._delete_old()
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._delete_old()

    def _drawn(self, picture: Picture) -> bytes | None:
        try:
            return encode_image(picture(), ".jpg") if self._snapshot else None
        except Exception as error:
            _log.warning("No picture for an incident: %s", error)
            return None

    def _delete_old(self) -> None:
        self.store.delete_old(self._retention)
        self._looked_s = time.monotonic()


_opening = threading.Lock()
"""Sinks of several cameras may make one file."""
