"""A folder of fetched things, and the record of what they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.get.errors import FetchError, disk_error
from training.data.get.fetch import OnBytes, download
from training.data.get.part_file import finish, part_path, set_aside
from training.data.get.published import Entry, Part
from training.data.get.unpack import unpack

RECORD = "fetched.json"
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told what happens.

    Attributes:
        stage: told that a stage of a part begins; returns what is told its progress.
        note: told a sentence.
    """

    stage: Callable[[str], OnBytes]
    note: Callable[[str], None]


class FetchedFolder:
    """Where the parts of an entry go: FOLDER/<part>/ unpacked, or FOLDER/<file>.

    Args:
        path: made if it is absent.
        entry: what is fetched into it.
        watch: told what happens.

    Raises:
        FetchError: the folder cannot be made.
    """

    def __init__(self, path: Path, entry: Entry, watch: Watch) -> None:
        self._path, self._entry, self._watch = path, entry, watch
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(path / RECORD, error) from error

    def has(self, part: Part) -> bool:
        """Whether a part is here already, whole.

        Raises:
            FetchError: something else is in its place.
        """
        place = self._place(part)
        if part.unpack and place.exists() and part.name not in self._record():
            raise FetchError(
                f"{place} exists and was not made by this command. Move it away, or name another "
                "folder with --output."
            )
        return place.exists() and part.name in self._record()

    def fetch(self, part: Part, address: str, keep_archive: bool) -> None:
        """Download a part, check it and unpack it.

        Args:
            part: not here yet.
            address: of its file.
            keep_archive: leave the archive beside what was unpacked.

        Raises:
            FetchError: it cannot be had, is not what was published, or does not fit.
        """
        file = self._path / part.file
        if not file.exists():
            told = self._watch.stage(f"fetching {part.file}")
            download(address, file, told, self._watch.note)
            digest = self._checked_part(part, file)
        else:  # a run that ended while it unpacked
            digest = self._digest(file)
        self._install(part, file, address, digest)
        if part.unpack and not keep_archive:
            file.unlink()

    def take(self, part: Part, file: Path) -> None:
        """Check and unpack, or copy, a file that a person has fetched; it stays as it is.

        Raises:
            FetchError: it is not what was published, or does not fit.
        """
        digest = self._digest(file)
        if part.sha256 not in (None, digest):
            raise FetchError(f"{file} is not {part.file} as published: {_differs(part, digest)}.")
        if not part.unpack:
            file = self._copied(file, self._path / part.file)
        self._install(part, file, str(file.resolve()), digest)

    def _checked_part(self, part: Part, file: Path) -> str:
        digest = self._digest(part_path(file))
        if part.sha256 not in (None, digest):
            bad = set_aside(file)
            raise FetchError(
                f"{part.file} is not what was published: {_differs(part, digest)}. It is kept as "
                f"{bad}; run the same command again, or pass a good copy with --from."
            )
        finish(file)
        return digest

    def _install(self, part: Part, file: Path, origin: str, digest: str) -> None:
        size = file.stat().st_size
        if part.unpack:
            unpack(file, self._place(part), self._watch.stage(f"unpacking {part.file}"))
        record = self._record()
        record[part.name] = {
            "file": part.file,
            "from": origin,
            "bytes": size,
            "sha256": digest,
            "licence": self._entry.licence,
        }
        self._write_record(record)

    def _copied(self, source: Path, target: Path) -> Path:
        try:
            shutil.copyfile(source, part_path(target))
        except OSError as error:
            raise disk_error(target, error) from error
        finish(target)
        return target

    def _digest(self, file: Path) -> str:
        told, done, total = self._watch.stage(f"checking {file.name}"), 0, file.stat().st_size
        digest = hashlib.sha256()
        try:
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    done += len(chunk)
                    told(done, total)
        except OSError as error:
            raise FetchError(f"{file} cannot be read: {error.strerror}.") from error
        return digest.hexdigest()

    def _place(self, part: Part) -> Path:
        return self._path / (part.name if part.unpack else part.file)

    def _record(self) -> dict[str, Any]:
        path = self._path / RECORD
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise FetchError(f"{path} cannot be read ({error}). Delete it.") from error
        if not isinstance(found, dict):
            raise FetchError(f"{path} is not the record of what was fetched. Delete it.")
        return found

    def _write_record(self, record: dict[str, Any]) -> None:
        path = self._path / RECORD
        beside = path.with_name(f"{RECORD}.new")
        try:
            beside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            os.replace(beside, path)
        except OSError as error:
            raise disk_error(path, error) from error


def _differs(part: Part, digest: str) -> str:
    return f"its sha256 is {digest}, expected {part.sha256}"
