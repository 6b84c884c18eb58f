"""Fetch published data sets and weights: wildrf, forensynth, ufd, upstream-weights.

The licence is shown and must be accepted first. A download that was stopped goes on where it was:
run the same command again. DIR/fetched.json records what came from where.

    patchwatch data get wildrf --dry-run              licence, files, addresses; fetches nothing
    patchwatch data get forensynth --part val         one part of it
    patchwatch data get wildrf --from WildRF.zip      a file that a browser has fetched
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from edge.errors import UsageError
from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.data.get.errors import AddressError, FetchError
from training.data.get.fetch import OnBytes
from training.data.get.folder import FetchedFolder, Watch
from training.data.get.published import ENTRIES, Entry, Part
from training.data.layouts import find_root


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
    """Fetch, or list.

    Returns:
        The exit code: 0 all is there, 128 + signal when stopped; what came is kept.
    """
    entry = ENTRIES[args.name]
    parts = _chosen(args.name, entry, args.part)
    output = args.output or Path("data") / args.name
    if args.dry_run:
        _list(entry, parts, output, args.address)
        return 0
    _require_accepted(entry, args.accept_licence)
    try:
        with stop_signals(), _watch() as watch:
            _get_all(args, entry, parts, FetchedFolder(output, entry, watch))
    except Stopped as stopped:
        console().print("Stopped. What came so far is kept: the same command goes on from there.")
        return stopped.exit_code
    _say(f"{args.name} is in {output}.")
    root = find_root(output)
    if root:
        _say(f"Its folder for 'patchwatch data check' and for --data: {root}")
    return 0


def _get_all(
    args: argparse.Namespace, entry: Entry, parts: Sequence[Part], folder: FetchedFolder
) -> None:
    files = _local_files(args.source, parts) if args.source else {}
    for part in parts:
        if folder.has(part):
            _say(f"{part.name} is here already.")
        elif args.source:
            folder.take(part, files[part.name])
        else:
            try:
                folder.fetch(part, _address(part, args.address), args.keep_archive)
            except AddressError as error:
                raise AddressError(f"{error} Its page: {entry.page}") from error


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
    _say(entry.title)
    _say(f"Licence: {entry.licence}\nIts text: {entry.licence_address}")
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


@contextmanager
def _watch() -> Iterator[Watch]:
    """Shows a bar for each stage, and sentences above it."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Amount(),
        _Rate(),
        TimeRemainingColumn(),
        console=console(),
    ) as progress:

        def stage(title: str) -> OnBytes:
            for task in progress.task_ids:
                progress.remove_task(task)
            task = progress.add_task(title, total=None, members=title.startswith("unpacking"))
            begun: list[int] = []

            def told(done: int, total: int | None) -> None:
                if not begun:  # what an earlier run fetched must not count as speed
                    begun.append(done)
                    progress.reset(task, total=total, completed=done)
                progress.update(task, completed=done, total=total)

            return told

        yield Watch(stage, lambda text: progress.console.print(text, markup=False))


class _Amount(ProgressColumn):
    """Members of an archive, or bytes of a file."""

    def __init__(self) -> None:
        super().__init__()
        self._members, self._bytes = MofNCompleteColumn(), DownloadColumn(binary_units=True)

    def render(self, task: Task) -> Text:
        return (self._members if task.fields["members"] else self._bytes).render(task)


class _Rate(ProgressColumn):
    """Bytes a second; nothing for members, which differ too much."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        return Text() if task.fields["members"] else self._bytes.render(task)


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"expected http://… or https://…, found {text!r}.")
    return text
