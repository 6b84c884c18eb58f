"""Print all that pictures and videos say of themselves, and what it means.

Read are content credentials (C2PA), EXIF, XMP, IPTC, the AIGC label and the notes of generators.
No model runs and nothing is fetched from the network. Names, places and serial numbers are printed
with --private alone.

Exit codes: 0 every file was read, 1 one or its pixels could not be, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from edge.config import RunConfig, add_flags, flags_in, override
from edge.errors import SourceError, printable, without_logins
from edge.provenance import RELATION, Provenance, read_provenance
from edge.provenance.claims import SURETY_WORDS
from edge.provenance.credentials import check_trust
from edge.record import claim_records
from edge.sources import source_name
from edge.sources.address import scheme_of
from edge.sources.images import is_picture, missing, read_image
from edge.words import counted

_ADDRESS = "is an address. Expected a file: download it, and name that."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch inspect`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="pictures and videos")
    parser.add_argument("--private", action="store_true", help="show names, places, serial numbers")
    parser.add_argument("--json", action="store_true", help="print one JSON object per file")
    add_flags(parser, "provenance.trust")


def run(args: argparse.Namespace) -> int:
    """Print what each file says; see the module's text for the exit codes."""
    trust = override(RunConfig(), flags_in(args)).provenance.trust
    if trust is not None:
        check_trust(trust)
    failed = 0
    for text in args.files:
        path = Path(text)
        found = Provenance()
        problem = _ADDRESS if scheme_of(text) else _problem(path)
        if problem is None:
            found = read_provenance(path, trust=trust, private=args.private, thumbnail=True)
            problem = _damage(path)
        if problem is not None:
            failed += 1
            shown = printable(source_name(text) if scheme_of(text) else without_logins(text))
            sys.stderr.write(f"patchwatch: error: {shown}: {printable(problem)}\n")
            if found == Provenance():
                continue
        if args.json:
            record = {"source": str(path), "provenance": claim_records(found)}
            sys.stdout.write(json.dumps({**record, "hidden": found.hidden}) + "\n")
        else:
            sys.stdout.write("\n".join(_lines(path, found)) + "\n")
    if not args.json and failed < len(args.files):
        sys.stdout.write(RELATION + "\n")
    return 1 if failed else 0


def _problem(path: Path) -> str | None:
    if path.is_fifo() or path.is_socket() or path.is_char_device():
        return "is no file but a pipe, a socket or a device. Expected a picture or a video."
    try:
        with path.open("rb") as file:
            return None if file.read(1) else "the file is empty (0 bytes)."
    except FileNotFoundError:
        return f"{missing(path)}. Expected a picture or a video."
    except OSError as error:
        return f"cannot be read ({error.strerror}). Expected a picture or a video."


def _damage(path: Path) -> str | None:
    """Why its pixels cannot be read; what it says of itself may be there all the same."""
    from edge.sources.video import open_file

    try:
        if is_picture(path):
            read_image(path)
        else:
            open_file(path, str(path)).close()
    except SourceError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def _lines(path: Path, found: Provenance) -> Iterator[str]:
    """A heading, and the claims by how far they can be believed."""
    yield printable(str(path))
    yield f"  {found.headline or 'does not say where it comes from'}"
    for surety, words in SURETY_WORDS.items():
        claims = [claim for claim in found.claims if claim.surety == surety]
        if claims:
            yield f"  {words}:"
        for claim in claims:
            kind = claim.kind.replace("_", " ")
            yield f"    {kind:<17}{claim.value}  [{claim.where}]"
    if found.hidden:
        fields = counted(found.hidden, "private field is", "private fields are")
        yield f"  {fields} not shown; --private shows them"
    yield ""
