"""Fetch published data sets and weights: wildrf, forensynth, ufd, upstream-weights.

The licence is shown and must be accepted first. A download that was stopped goes on where it was:
run the same command again. DIR/fetched.json records what came from where.

    patchwatch data get wildrf --dry-run              licence, files, addresses; fetches nothing
    patchwatch data get forensynth --part val         one part of it
    patchwatch data get wildrf --from WildRF.zip      a file that a browser has fetched
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import Progress, TaskProgressColumn

from edge.errors import UsageError
from edge.files import sha256_of, write_whole
from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.data.get.download import download
from training.data.get.errors import AddressError, FetchError, disk_error
from training.data.get.published import ENTRIES, Entry, Part
from training.data.get.unpack import unpack
from training.data.layouts import find_root
from training.progress import progress_bar

RECORD = "fetched.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("name", choices=ENTRIES, metavar="NAME", help=", ".join(ENTRIES))
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder that it goes into (default: data/NAME)"
    )
    parser.add_argument(
        "--part",
        action="append",
        metavar="PART",
        help="only this part; may be given again (--dry-run lists them)",
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="accept the licence without being asked"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would be fetched, and fetch nothing"
    )
    parser.add_argument(
        "--keep-archive", action="store_true", help="keep an archive after it was unpacked"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--address",
        type=_web_address,
        metavar="URL",
        help="of a mirror: a folder that holds the files under their published names",
    )
    where.add_argument(
        "--from",
        type=Path,
        dest="source",
        metavar="PATH",
        help="take a file that you have fetched, or a folder with such files, instead",
    )


def run(args: argparse.Namespace) -> int:
    """Fetch, or list; the exit code is 0, or 128 + signal when stopped: what came is kept."""
    entry = ENTRIES[args.name]
    parts = _chosen(args.name, entry, args.part)
    output = args.output or Path("data") / args.name
    if args.dry_run:
        _list(entry, parts, output, args.address)
        return 0
    _require_accepted(entry, args.accept_licence)
    files = _local_files(args.source, parts) if args.source else {}
    try:
        with stop_signals(), progress_bar(count=TaskProgressColumn()) as progress:
            folder = _Folder(output, entry, progress)
            for part in parts:
                if folder.has(part):
                    _say(f"{part.name} is here already.")
                elif part.name in files:
                    folder.take(part, files[part.name])
                else:
                    folder.fetch(part, _address(part, args.address), args.keep_archive)
    except AddressError as error:
        raise AddressError(f"{error} Its page: {entry.page}") from error
    except Stopped as stopped:
        _say("Stopped. What came so far is kept: the same command goes on from there.")
        return stopped.exit_code
    _say(f"{args.name} is in {output}.")
    root = find_root(output)
    if root:
        _say(f"Its folder for 'patchwatch data check' and for --data: {root}")
    return 0


class _Folder:
    """Where the parts of an entry go: FOLDER/<part>/ unpacked, or FOLDER/<file>."""

    def __init__(self, path: Path, entry: Entry, progress: Progress) -> None:
        self._path, self._entry, self._progress = path, entry, progress
        self._record_path = path / RECORD
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(self._record_path, error) from error

    def has(self, part: Part) -> bool:
        """Whether a part is here already, whole; something else in its place is an error."""
        place, known = self._place(part), part.name in self._record()
        if part.unpack and place.exists() and not known:
            raise FetchError(
                f"{place} exists and was not made by this command. Move it away, or name another "
                "folder with --output."
            )
        return place.exists() and known

    def fetch(self, part: Part, address: str, keep_archive: bool) -> None:
        """Download a part, check it and unpack it."""
        file = self._path / part.file
        if not file.exists():  # else a run ended while it unpacked
            download(address, file, part.sha256, self._stage(f"fetching {part.file}"))
        self._install(part, file, address)
        if part.unpack and not keep_archive:
            file.unlink()

    def take(self, part: Part, file: Path) -> None:
        """Check and unpack, or copy, a file that a person has fetched; it stays as it is."""
        digest = sha256_of(file)
        if part.sha256 not in (None, digest):
            raise FetchError(
                f"{file} is not {part.file} as published: its sha256 is {digest}, expected "
                f"{part.sha256}."
            )
        origin = str(file.resolve())
        if not part.unpack:
            target = self._path / part.file
            try:
                file = shutil.copyfile(file, target)
            except OSError as error:
                raise disk_error(target, error) from error
        self._install(part, file, origin)

    def _install(self, part: Part, file: Path, origin: str) -> None:
        entry = {
            "file": part.file,
            "from": origin,
            "bytes": file.stat().st_size,
            "sha256": sha256_of(file),
            "licence": self._entry.licence,
        }
        if part.unpack:
            unpack(file, self._place(part), self._stage(f"unpacking {part.file}"))
        record = self._record() | {part.name: entry}
        write_whole(self._record_path, (json.dumps(record, indent=2) + "\n").encode())

    def _stage(self, title: str) -> Callable[[int, int | None], None]:
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        task = self._progress.add_task(title, total=None, note="")
        return lambda done, total: self._progress.update(task, completed=done, total=total)

    def _place(self, part: Part) -> Path:
        return self._path / (part.name if part.unpack else part.file)

    def _record(self) -> dict[str, Any]:
        try:
            found = json.loads(self._record_path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise FetchError(f"{self._record_path} cannot be read ({error}). Delete it.") from error
        if not isinstance(found, dict):
            raise FetchError(f"{self._record_path} is not the record of a download. Delete it.")
        return found


def _chosen(name: str, entry: Entry, wanted: Sequence[str] | None) -> list[Part]:
    if not wanted:
        return [part for part in entry.parts if not part.optional]
    known = {part.name: part for part in entry.parts}
    for part in wanted:
        if part not in known:
            raise UsageError(f"{name} has no part {part!r}. Its parts: {', '.join(known)}.")
    return [known[part] for part in dict.fromkeys(wanted)]


def _address(part: Part, mirror: str | None) -> str:
    return f"{mirror.rstrip('/')}/{quote(part.file)}" if mirror else part.address


def _local_files(source: Path, parts: Sequence[Part]) -> dict[str, Path]:
    """The file of each part: by its published name, or whatever its name if there is one part."""
    if not source.exists():
        raise FetchError(f"{source} does not exist. Name a file or a folder with --from.")
    if source.is_file():
        if len(parts) == 1:
            return {parts[0].name: source}
        found = [part for part in parts if part.file == source.name]
        if not found:
            names = ", ".join(part.name for part in parts)
            raise UsageError(f"Which part is {source.name}? Say it with --part: {names}.")
        raise UsageError(f"{source} is only one of the parts. Add --part {found[0].name}.")
    missing = [part.file for part in parts if not (source / part.file).is_file()]
    if missing:
        raise FetchError(
            f"{source} was expected to hold {', '.join(part.file for part in parts)}; missing: "
            f"{', '.join(missing)}. Fetch them, or choose with --part."
        )
    return {part.name: source / part.file for part in parts}


def _require_accepted(entry: Entry, accepted: bool) -> None:
    _say(f"{entry.title}\nLicence: {entry.licence}\nIts text: {entry.licence_address}")
    if accepted:
        return
    if not sys.stdin.isatty():
        raise FetchError("The licence was not accepted. Add --accept-licence if you accept it.")
    console().print("Do you accept it? (yes/no) ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise FetchError("The licence was not accepted, so nothing was fetched.")


def _list(entry: Entry, parts: Sequence[Part], output: Path, mirror: str | None) -> None:
    """Print what would be fetched; plain lines, so that they can be searched."""
    out = Console(highlight=False, soft_wrap=True, markup=False)
    out.print(f"{entry.title}\nLicence: {entry.licence}\nIts text: {entry.licence_address}")
    out.print(f"Page: {entry.page}" + (f"\nNote: {entry.note}" if entry.note else ""))
    for part in entry.parts:
        chosen = "fetched" if part in parts else "only with --part"
        size = f", {part.size}" if part.size else ""
        place = output / (part.name if part.unpack else part.file)
        out.print(f"{part.name} ({chosen}): {part.file}{size}, into {place}")
        out.print(f"    from {_address(part, mirror)}")
        out.print(f"    sha256 {part.sha256 or 'not published'}")


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"expected http://… or https://…, found {text!r}.")
    return text
