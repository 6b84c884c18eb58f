"""Where the scores of an archive are kept: two tables of Parquet files, on a disk or in a store.

    run.json                            the settings and the models, by their hashes
    scores/verdict=fake/….parquet       a row for each file that was scored
    errors/….parquet                    a row for each that was not, and why

Each file is written whole, by one process. What was scored is not scored again; what failed is, and
its older rows are removed when the run ends.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from edge.errors import MissingDependency, SinkError, UsageError
from edge.files import write_whole
from edge.sources.address import redact, scheme_of
from edge.stores import INSTALL, file_system

if TYPE_CHECKING:
    import pyarrow as pa

SCORES, ERRORS, RUN = "scores", "errors", "run.json"
FLUSH_S = 5.0
"""How long a row waits for others, to share a file with them."""

Row = Mapping[str, Any]


def schema() -> pa.Schema:
    """Of the rows in both tables; `verdict` is in the folder's name, and empty in `errors`."""
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int64()
    stretch = pa.struct([("begin_s", real), ("end_s", real), ("score", real)])
    kinds = {
        **dict.fromkeys(("source", "sha256", "error", "reason", "provenance"), text),
        **dict.fromkeys(("bytes", "frames", "faces"), whole),
        **dict.fromkeys(("score", "logit", "seconds", "fake_share", "picture", "face"), real),
    }
    return pa.schema({**kinds, "stretches": pa.list_(stretch), "worst": stretch})


class Output:
    """The tables at a path or an fsspec address; written to between entering and leaving it.

    Attributes:
        failed: by source the files with rows of its failures, as `done` found them.

    Raises:
        MissingDependency: pyarrow, or what the store needs, is absent.
        UsageError: no such store.
    """

    def __init__(self, place: str) -> None:
        try:
            import pyarrow.dataset
            import pyarrow.parquet  # noqa: F401  # only whether it can be imported matters
        except ImportError as error:
            raise MissingDependency("pyarrow", "write Parquet", INSTALL) from error
        self.shown = redact(place)
        self._system, self._root = file_system(place)
        self._local = scheme_of(place) is None
        self._stem = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"
        self._count = 0
        self.failed: dict[str, set[str]] = {}
        self._again: set[str] = set()
        self._rows: deque[Row] = deque()
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="patchwatch-tables", daemon=True)

    def claim(self, run: Row) -> None:
        """Note with what the files are scored.

        Raises:
            UsageError: those that are there already were scored with something else.
            SinkError: it cannot be written.
        """
        path = f"{self._root}/{RUN}"
        before: Any = None
        try:
            before = json.loads(self._system.cat_file(path))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            pass  # nothing is there, or what is there was never finished
        except Exception as error:  # each store raises its own
            raise SinkError(
                f"{self.shown}: {RUN} cannot be read ({redact(str(error))})."
            ) from error
        if not isinstance(before, dict | None):
            raise UsageError(
                f"{self.shown}: its {RUN} is of something else. Give another --output."
            )
        if before is None:
            self._put(path, json.dumps(run, indent=2, sort_keys=True).encode())
        elif differs := [key for key in {*before, *run} if before.get(key) != run.get(key)]:
            raise UsageError(
                f"{self.shown} has scores of another run; what differs is {', '.join(differs)} in "
                f"{RUN}. Give the same settings to go on with it, or another --output."
            )

    def done(self) -> set[str]:
        """The sources that were scored without an error; SinkError where they cannot be read."""
        import pyarrow.dataset as ds

        known: set[str] = set()
        failed = ds.field("error").is_valid()
        self._system.invalidate_cache()
        for table in (SCORES, ERRORS):
            folder = f"{self._root}/{table}"
            try:
                files = [name for name in self._system.find(folder) if _is_table(name)]
                if not files:
                    continue
                rows = ds.dataset(files, filesystem=self._system, format="parquet")
                for batch in rows.to_batches(columns=["source", "__filename"], filter=failed):
                    for source, path in zip(*batch.to_pydict().values(), strict=True):
                        self.failed.setdefault(source, set()).add(path)
                for batch in rows.to_batches(columns=["source"], filter=~failed):
                    known.update(batch.column(0).to_pylist())
            except Exception as error:  # each store raises its own
                raise SinkError(
                    f"{self.shown}: its {table} cannot be read ({redact(str(error))}). "
                    "Remove a damaged file, or check the login."
                ) from error
        self._again = known & self.failed.keys()  # scored by a run that was killed
        return known

    def __enter__(self) -> Self:
        """Write rows that are added from now on."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write the last of them, and remove older rows of theirs; SinkError where it failed."""
        self._over.set()
        self._thread.join()
        self._raise()
        self._remove_older()

    def add(self, row: Row) -> None:
        """Write a row of `schema` with its `verdict`, together with others, within `FLUSH_S`.

        Raises:
            SinkError: an earlier one could not be written.
        """
        self._raise()
        self._rows.append(row)
        if row["source"] in self.failed:
            self._again.add(row["source"])

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        try:
            while not self._over.wait(FLUSH_S):
                self._flush()
            self._flush()
        except BaseException as error:
            self._error = error

    def _flush(self) -> None:
        import pyarrow as pa

        tables: dict[str, list[Row]] = defaultdict(list)
        for _ in range(len(self._rows)):
            row = self._rows.popleft()
            verdict = row["verdict"]
            tables[ERRORS if verdict is None else f"{SCORES}/verdict={verdict}"].append(row)
        for name, part in tables.items():
            path = f"{self._root}/{name}/{self._stem}-{self._count:06}.parquet"
            self._write_table(path, pa.Table.from_pylist(part, schema()))
        self._count += 1

    def _remove_older(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for path in {path for source in self._again for path in self.failed[source]}:
            try:
                rows = pq.ParquetFile(io.BytesIO(self._system.cat_file(path))).read()
                older = pc.and_(
                    pc.is_valid(rows["error"]), pc.is_in(rows["source"], pa.array([*self._again]))
                )
                rows = rows.filter(pc.invert(older))
                if not rows.num_rows:
                    self._system.rm_file(path)
                    continue
            except Exception as error:  # each store raises its own
                raise SinkError(
                    f"{path}: its older rows cannot be removed ({redact(str(error))})."
                ) from error
            self._write_table(path, rows)

    def _write_table(self, path: str, rows: pa.Table) -> None:
        import pyarrow.parquet as pq

        data = io.BytesIO()
        pq.write_table(rows, data, compression="zstd")
        self._put(path, data.getvalue())

    def _put(self, path: str, data: bytes) -> None:
        if self._local:
            write_whole(Path(path), data)
            return
        try:
            self._system.pipe_file(path, data)
        except Exception as error:  # each store raises its own
            raise SinkError(f"{self.shown} cannot be written ({redact(str(error))}).") from error


def _is_table(path: str) -> bool:
    """Other programs leave files of their own beside tables."""
    return path.endswith(".parquet") and path.rpartition("/")[2][0] not in "._"
