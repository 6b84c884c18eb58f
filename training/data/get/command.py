"""Fetch published data sets and weights: wildrf, forensynth, ufd, ladeda-weights, upstream-weights.

The licence is shown and must be accepted first. A download that was stopped goes on where it was:
run the same command again. DIR/fetched.json records what came from where.

    patchwatch data get wildrf --dry-run              licence, files, addresses; fetches nothing
    patchwatch data get forensynth --part val         one part of it
    patchwatch data get wildrf --from WildRF.zip      a file that a browser has fetched
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TaskProgressColumn

from edge.errors import UsageError
from edge.files import sha256_of, write_whole
from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.data.get.download import AddressError, FetchError, OnBytes, disk_error, download
from training.data.get.published import ENTRIES, Entry, Part
from training.data.layouts import find_root
from training.progress import progress_bar

RECORD = "fetched.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("name", choices=ENTRIES, metavar="NAME", help=", ".join(ENTRIES))
    add("--output", type=Path, metavar="DIR", help="folder that it goes into (default: data/NAME)")
    add("--part", metavar="PART", help="this part alone (--dry-run lists them)")
    add("--accept-licence", action="store_true", help="accept the licence without being asked")
    add("--dry-run", action="store_true", help="list what would be fetched, and fetch nothing")
    add(
        "--from",
        type=Path,
        dest="source",
        metavar="FILE",
        help="take a file that you have fetched; name its --part where there are several",
    )


def run(args: argparse.Namespace) -> int:
    """Fetch, or list; the exit code is 0, or 128 + signal when stopped: what came is kept."""
    entry: Entry = ENTRIES[args.name]
    parts = [p for p in entry.parts if p.name == args.part or not (args.part or p.optional)]
    if not parts:
        names = ", ".join(part.name for part in entry.parts)
        raise UsageError(f"{args.name} has no part {args.part!r}. Its parts: {names}.")
    output: Path = args.output or Path("data") / args.name
    _list(entry, output, args)
    if args.dry_run:
        return 0
    if args.source and len(parts) > 1:
        names = ", ".join(part.name for part in parts)
        raise UsageError(f"Which part is {args.source.name}? Say it with --part: {names}.")
    _require_accepted(args.accept_licence)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with stop_signals(), progress_bar(count=TaskProgressColumn()) as progress:
            for part in parts:
                task = progress.add_task(part.file, total=None, note="")

                def on_part(done: int, total: int | None, task: Any = task) -> None:
                    progress.update(task, completed=done, total=total)

                _install(entry, part, output, args.source, on_part)
    except AddressError as error:
        raise AddressError(f"{error} Its page: {entry.page}") from error
    except OSError as error:
        raise disk_error(output / RECORD, error) from error
    except Stopped as stopped:
        _say("Stopped. What came so far is kept: the same command goes on from there.")
        return stopped.exit_code
    _say(f"{args.name} is in {output}.")
    root = find_root(output)
    if root:
        _say(f"Its folder for 'patchwatch data check' and for --data: {root}")
    return 0


def _install(entry: Entry, part: Part, output: Path, source: Path | None, on_part: OnBytes) -> None:
    """Put a part in its place, checked, as OUTPUT/<part>/ unpacked or OUTPUT/<file>."""
    place, record = _place(part, output), _record(output / RECORD)
    if place.exists() and part.name in record:
        _say(f"{part.name} is here already.")
        return
    if part.unpack and place.exists():
        raise FetchError(
            f"{place} exists and was not made by this command. Move it away, or name another "
            "folder with --output."
        )
    file = source or output / part.file
    if source is None and not file.exists():  # else a run ended while it unpacked
        download(part.address, file, part.sha256, on_part)
    if not file.is_file():
        raise FetchError(f"{file} does not exist. Name a file with --from.")
    digest = sha256_of(file)
    if part.sha256 not in (None, digest):
        raise FetchError(
            f"{file} is not {part.file} as published: its sha256 is {digest}, expected "
            f"{part.sha256}."
        )
    record[part.name] = {
        "file": part.file,
        "from": str(source.resolve()) if source else part.address,
        "bytes": file.stat().st_size,
        "sha256": digest,
        "licence": entry.licence,
    }
    if part.unpack:
        unpack(file, place, on_part)
    elif source is not None:
        shutil.copyfile(source, place)
    write_whole(output / RECORD, json.dumps(record, indent=2) + "\n")
    if part.unpack and source is None:
        file.unlink()


def unpack(archive: Path, folder: Path, on_member: Callable[[int, int | None], None]) -> None:
    """Unpack a zip beside the folder, and put it in place at the end.

    zipfile writes nothing outside of the folder, and no links.

    Raises:
        FetchError: no zip, broken, encrypted, or there is no room.
    """
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            for done, member in enumerate(members, start=1):
                opened.extract(member, beside)
                on_member(done, len(members))
        os.replace(beside, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FetchError(f"{archive} is broken ({error}). Delete it and fetch it again.") from error
    except (NotImplementedError, RuntimeError) as error:  # RuntimeError where it is encrypted
        raise FetchError(f"{archive} cannot be unpacked here ({error}); do it by hand.") from error
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _place(part: Part, output: Path) -> Path:
    return output / (part.name if part.unpack else part.file)


def _record(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise FetchError(f"{path} cannot be read as a record ({error}). Delete it.") from error


def _require_accepted(accepted: bool) -> None:
    if accepted:
        return
    if not sys.stdin.isatty():
        raise FetchError("The licence was not accepted. Add --accept-licence if you accept it.")
    console().print("Do you accept it? (yes/no) ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise FetchError("The licence was not accepted, so nothing was fetched.")


def _list(entry: Entry, output: Path, args: argparse.Namespace) -> None:
    """Print the terms, and for --dry-run what would be fetched, in lines that can be searched."""
    out = Console(highlight=False, soft_wrap=True, markup=False, stderr=not args.dry_run)
    out.print(f"{entry.title}\nLicence: {entry.licence}\nIts text: {entry.licence_address}")
    if not args.dry_run:
        return
    out.print(f"Page: {entry.page}" + (f"\nNote: {entry.note}" if entry.note else ""))
    for part in entry.parts:
        chosen = part.name == args.part or not (args.part or part.optional)
        size = f", {part.size}" if part.size else ""
        state = "fetched" if chosen else "only with --part"
        out.print(f"{part.name} ({state}): {part.file}{size}, into {_place(part, output)}")
        out.print(f"    from {part.address}\n    sha256 {part.sha256 or 'not published'}")


def _say(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
