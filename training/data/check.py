"""Check a data set before a training: decode every file, count, and look for leaks between splits.

Shows what was found per split, label and source, which files are left out and why, and which
pictures of val and test match one of train, or are there more than once. What was learned of a file
is kept in the user's cache folder, so that a second check, or a training, decodes nothing again.

    patchwatch data check pictures/                   train/ and val/, each 0_real/ and 1_fake/
    patchwatch data check set/ --layout forensynth    a published layout, if it is not recognised
    patchwatch data check set/ --for tiny.yaml        and what a training by tiny.yaml leaves out
    patchwatch data check set/ --label-folders real=photos fake=ai    folders of other names

Exit codes: 0 nothing found, 1 leaks or a picture under both labels (with --strict also corrupt
files), no such data or what --for refuses, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge.config import read_yaml
from edge.errors import UsageError
from edge.labels import LABEL_WORDS, LabelFolders, add_label_folders
from edge.terminal import console, show_notes
from training.config import DistillConfig, TrainConfig, load_config
from training.data.dataset import DataSet, open_dataset, open_training_data
from training.data.folders import Picture, PictureFolder
from training.data.layouts import AUTO, LAYOUTS, TRAIN
from training.flags import label_settings
from training.models import build
from training.progress import advancing, print_table

LABELS = ("real", "fake")
"""Names of the labels at their numbers."""

SHOWN = 10
"""Files and pairs listed for each split; --json lists all."""

MOST_ROWS = 24
"""Sources shown for a split; the rest is summed up in one row."""

DISTANCE = 4
"""Bits of 64 that the perceptual hashes of two pictures may differ in to count as one.

A hash changes by a few bits when a picture is compressed again or scaled; it does not find one that
was cropped or turned, and frames of one video, and plain surfaces, match too. Of 188 pictures all
were found again within 4 bits as JPEG of quality 40 or at half their size; no two of them that have
nothing to do with each other were nearer than 16.
"""

_AT_ONCE = 20_000_000
"""Pairs that are compared at once; bounds the memory."""

Size = tuple[int, int]
"""Width and height in pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch data check`."""
    add = parser.add_argument
    add("path", type=Path, metavar="DATA", help="folder of the data set")
    add("--layout", choices=(AUTO, *LAYOUTS), default=AUTO, help="of DATA (default: recognised)")
    add_label_folders(parser)
    add(
        "--for",
        dest="training",
        type=Path,
        metavar="CONFIG",
        help="YAML file of a training: say what it would leave out or refuse",
    )
    add("--cache", type=Path, metavar="DIR", help="for what is learned (default: the user's cache)")
    add("--json", action="store_true", help="all that was found, as JSON on stdout")
    add(
        "--leaks",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look for pictures of train in val and test (default: yes)",
    )
    add("--strict", action="store_true", help="exit 1 for corrupt files too")


def run(args: argparse.Namespace) -> int:
    """Check, report; see the module's text for the exit codes."""
    show_notes()
    config = _training_config(args.training, args.label_folders) if args.training else None
    with advancing("looking through the pictures") as advance:
        dataset = open_dataset(
            args.path,
            config.data.layout if config and args.layout == AUTO else args.layout,
            cache=args.cache,
            hashed=args.leaks,
            on_file=lambda total: advance(1, total),
            labels=config.data.label_folders if config else args.label_folders,
        )

        leaks = find_leaks(dataset) if args.leaks else []
        copies = find_copies(dataset) if args.leaks else []
    if args.json:
        json.dump(_report(dataset, leaks, copies), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _show(dataset, leaks, copies, compared=args.leaks)
    if config:
        least = build(config.architecture, config.preprocessing).grid.smallest_input()
        open_training_data(config.data, args.path, least, console())
    corrupt = sum(map(_corrupt, dataset.splits.values()))
    twice = any(one.labels_differ for one in copies)
    return 1 if leaks or twice or (args.strict and corrupt) else 0


def _training_config(path: Path, labels: LabelFolders) -> TrainConfig:
    content = read_yaml(path)
    if isinstance(content, dict) and content.get("kind") == "faces":
        raise UsageError(f"--for: {path} learns from sets of faces. Expected one with data.")
    known = isinstance(content, dict) and "teaching" in content
    return load_config(DistillConfig if known else TrainConfig, path, label_settings(labels))


@dataclass(frozen=True, slots=True)
class Leak:
    """A picture held out, the one of train that is most like it, and the bits that differ."""

    split: str
    held: Picture
    train: Picture
    distance: int


def find_leaks(dataset: DataSet) -> list[Leak]:
    """The pictures of other splits that are within `DISTANCE` bits of one of train.

    The data set was opened with `hashed`.
    """
    if TRAIN not in dataset.splits:
        return []
    train = dataset.splits[TRAIN]
    leaks = []
    for split, folder in dataset.splits.items():
        if split != TRAIN:
            nearest, distances = nearest_hashes(_hashes(train), _hashes(folder))
            leaks += [
                Leak(split, held, train.pictures[place], int(distance))
                for held, place, distance in zip(folder.pictures, nearest, distances, strict=True)
                if distance <= DISTANCE
            ]
    return leaks


@dataclass(frozen=True, slots=True)
class Copies:
    """Pictures of a split that have the same hash and size."""

    split: str
    pictures: tuple[Picture, ...]

    @property
    def labels_differ(self) -> bool:
        """Whether the same picture is called real and fake."""
        return len({picture.label for picture in self.pictures}) > 1


def find_copies(dataset: DataSet) -> list[Copies]:
    """The pictures that are more than once in a split; the data set was opened with `hashed`."""
    found: dict[tuple[object, ...], list[Picture]] = {}
    for split, folder in dataset.splits.items():
        for picture, known in zip(folder.pictures, folder.probed, strict=True):
            key = split, known.phash, known.width, known.height
            found.setdefault(key, []).append(picture)
    return [Copies(str(key[0]), tuple(same)) for key, same in found.items() if same[1:]]


def nearest_hashes(
    known: npt.NDArray[np.uint64], asked: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Place of the nearest of [K] hashes for each of [Q], the first of equals, and bits apart."""
    ours, theirs = _signs(known), _signs(asked)
    step = max(_AT_ONCE // len(known), 1)
    places, distances = np.zeros(len(asked), np.intp), np.zeros(len(asked), np.float32)
    for start in range(0, len(asked), step):
        some = slice(start, start + step)
        # Of vectors of ±1 the product is the equal bits less those that differ.
        alike = theirs[some] @ ours.T
        places[some] = alike.argmax(axis=1)
        distances[some] = (64 - alike.max(axis=1)) / 2
    return places, distances


def _signs(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    return bits.astype(np.float32) * 2 - 1


def _hashes(folder: PictureFolder) -> npt.NDArray[np.uint64]:
    return np.array([one.phash or 0 for one in folder.probed], np.uint64)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """The pictures of one source and label in a split.

    `sizes` are those of the smallest, the median and the largest by area; `formats` come with how
    many there are of each, the most common first.
    """

    source: str
    label: int
    pictures: int
    sizes: tuple[Size, Size, Size] | None
    formats: dict[str, int]
    left_out: int


def source_rows(folder: PictureFolder) -> list[SourceRow]:
    """A row for each label and source of a split, also where all of it is left out."""
    used: dict[tuple[int, str], list[Size]] = {}
    formats: dict[tuple[int, str], Counter[str]] = {}
    for picture, known in zip(folder.pictures, folder.probed, strict=True):
        key = picture.label, picture.source
        used.setdefault(key, []).append((known.width, known.height))
        formats.setdefault(key, Counter())[known.format] += 1
    lost = Counter((one.picture.label, one.picture.source) for one in folder.rejected)
    rows = []
    for label, source in sorted({*used, *lost}):
        key = label, source
        sizes = sorted(used.get(key, ()), key=lambda size: size[0] * size[1])
        shown = (sizes[0], sizes[len(sizes) // 2], sizes[-1]) if sizes else None
        common = dict(formats.get(key, Counter()).most_common())
        rows.append(SourceRow(source, label, len(sizes), shown, common, lost[key]))
    return rows


def found_table(dataset: DataSet) -> Table:
    """A row for each split, label and source: counts, sizes, formats, what is left out."""
    title = escape(f"{dataset.root} ({dataset.layout})")
    table = Table(title=title, box=SIMPLE, pad_edge=False)
    for name in ("split", "label"):
        table.add_column(name, no_wrap=True)
    table.add_column("source", overflow="fold", min_width=16)
    table.add_column("used", justify="right")
    table.add_column("least, median, most")
    table.add_column("formats")
    table.add_column("left out", justify="right", min_width=8)
    for split, folder in dataset.splits.items():
        rows = source_rows(folder)
        for number, row in enumerate(rows[:MOST_ROWS]):
            sizes = dict.fromkeys(row.sizes or ()) if len(set(row.sizes or ())) == 1 else row.sizes
            table.add_row(
                escape(split) if not number else "",
                LABELS[row.label],
                escape(row.source.encode(errors="replace").decode()),
                str(row.pictures),
                ", ".join(f"{width}×{height}" for width, height in sizes or ()),
                ", ".join(f"{name} {count}" for name, count in row.formats.items()),
                str(row.left_out or ""),
            )
        if rest := rows[MOST_ROWS:]:
            used, lost = sum(row.pictures for row in rest), sum(row.left_out for row in rest)
            table.add_row("", "", f"{len(rest)} more sources", str(used), "", "", str(lost or ""))
        table.add_section()
    return table


def found_notes(dataset: DataSet) -> Iterator[str]:
    """Sentences on what the table does not say: odd files, and formats that betray the label."""
    for split, folder in dataset.splits.items():
        odd = Counter(known.note for known in folder.probed if known.note)
        if odd:
            yield f"{split}: {', '.join(f'{count} {text}' for text, count in odd.items())}."
        formats: tuple[set[str], set[str]] = (set(), set())
        for picture, known in zip(folder.pictures, folder.probed, strict=True):
            formats[picture.label].add(known.format)
        if formats[0].isdisjoint(formats[1]):
            real, fake = (" or ".join(sorted(found)) for found in formats)
            yield (
                f"{split}: {LABEL_WORDS[0]} are all {real}, {LABEL_WORDS[1]} all {fake}: the "
                "format alone gives the label away. Compress both in the same way before learning "
                "or judging."
            )


def _show(
    dataset: DataSet, leaks: Sequence[Leak], copies: Sequence[Copies], compared: bool
) -> None:
    out = Console(highlight=False)
    print_table(out, found_table(dataset))
    totals = [
        f"{split}: {' and '.join(f'{sum(folder.sources(k).values())} {LABELS[k]}' for k in (0, 1))}"
        for split, folder in dataset.splits.items()
    ]
    lines = ["; ".join(totals), *found_notes(dataset), *_left_out(dataset)]
    for line in (*lines, *(_leak_lines(dataset, leaks) if compared else ()), *_copy_lines(copies)):
        # Names of files may hold brackets, and bytes that are no text.
        out.print(line.encode(errors="replace").decode(), markup=False, soft_wrap=True)


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"  and {len(lines) - SHOWN} more, which --json lists"


def _left_out(dataset: DataSet) -> Iterator[str]:
    for split, folder in dataset.splits.items():
        if folder.rejected:
            small = len(folder.rejected) - _corrupt(folder)
            yield f"{split}: left out are {_corrupt(folder)} corrupt and {small} too small files:"
        yield from _first([one.reason for one in folder.rejected])


def _leak_lines(dataset: DataSet, leaks: Sequence[Leak]) -> Iterator[str]:
    if TRAIN not in dataset.splits or len(dataset.splits) == 1:
        yield f"No leaks can be looked for: the splits are {', '.join(dataset.splits)}."
        return
    if not leaks:
        yield "No picture of another split matches one of train."
    for split in dict.fromkeys(leak.split for leak in leaks):
        found = [leak for leak in leaks if leak.split == split]
        total = len(dataset.splits[split].pictures)
        yield f"{split}: {len(found)} of {total} pictures match one of train:"
        yield from _first(
            [
                f"{leak.held.path} and {leak.train.path} ({leak.distance} bits apart"
                f"{'' if leak.held.label == leak.train.label else '; their labels differ'})"
                for leak in found
            ]
        )


def _copy_lines(copies: Sequence[Copies]) -> Iterator[str]:
    for differ, what in ((True, "under both labels"), (False, "more than once")):
        some = [one for one in copies if one.labels_differ == differ]
        if some:
            yield f"{len(some)} pictures are there {what}:"
        yield from _first(
            [f"{one.split}: {' and '.join(str(p.path) for p in one.pictures)}" for one in some]
        )


def _corrupt(folder: PictureFolder) -> int:
    return sum(not one.small for one in folder.rejected)


def _report(dataset: DataSet, leaks: Sequence[Leak], copies: Sequence[Copies]) -> dict[str, object]:
    splits = {
        split: {
            "sources": [asdict(row) for row in source_rows(folder)],
            "corrupt": _corrupt(folder),
            "left_out": [
                {"path": str(one.picture.path), "reason": one.reason} for one in folder.rejected
            ],
        }
        for split, folder in dataset.splits.items()
    }
    return {
        "name": dataset.root.resolve().name,
        "layout": dataset.layout,
        "root": str(dataset.root),
        "splits": splits,
        "notes": list(found_notes(dataset)),
        "copies": [
            {
                "split": one.split,
                "pictures": [str(picture.path) for picture in one.pictures],
                "labels_differ": one.labels_differ,
            }
            for one in copies
        ],
        "leaks": [
            {
                "split": leak.split,
                "picture": str(leak.held.path),
                "label": LABELS[leak.held.label],
                "train_picture": str(leak.train.path),
                "train_label": LABELS[leak.train.label],
                "distance": leak.distance,
            }
            for leak in leaks
        ],
    }
