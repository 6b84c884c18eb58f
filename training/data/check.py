"""Check a data set before a training: decode every file, count, and look for leaks between splits.

Shows what was found per split, label and source, which files are left out and why, and which
pictures of val and test match one of train. What was learned of a file is kept in the user's
cache folder, so that a second check, or a training, decodes nothing again.

    patchwatch data check pictures/                   train/ and val/, each 0_real/ and 1_fake/
    patchwatch data check set/ --layout forensynth    a published layout, if it is not recognised

Exit codes: 0 nothing found, 1 leaks (with --strict also corrupt files) or no such data, 2 wrong
usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge.terminal import positive, show_notes
from training.data.dataset import DataSet, open_dataset
from training.data.folders import LABEL_FOLDERS, LABEL_WORDS, PictureFolder
from training.data.layouts import AUTO, LAYOUTS, TRAIN, Labels
from training.data.leaks import DISTANCE, MOST_DISTANCE, Leak, SplitLeaks, find_leaks
from training.data.pictures import Indices, Pictures
from training.data.probe import NOTES
from training.progress import print_table, progress_bar

LABELS = ("real", "fake")
"""Names of the labels at their numbers."""

SHOWN = 10
"""Files and pairs listed for each split; --json lists all."""

MOST_ROWS = 24
"""Sources shown for a split; the rest is summed up in one row."""

Size = tuple[int, int]
"""Width and height in pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch data check`."""
    parser.add_argument("path", type=Path, metavar="DATA", help="folder of the data set")
    parser.add_argument(
        "--layout", choices=(AUTO, *LAYOUTS), default=AUTO, help="of DATA (default: recognised)"
    )
    parser.add_argument(
        "--classes",
        type=_names,
        default=(),
        metavar="A,B",
        help="classes (forensynth) or generators (genimage) to learn from (default: all)",
    )
    parser.add_argument(
        "--label-folders",
        type=_label_folders,
        default=LABEL_FOLDERS,
        metavar="REAL,FAKE",
        help=f"their names (default: {','.join(LABEL_FOLDERS)})",
    )
    parser.add_argument(
        "--smallest",
        type=positive,
        default=1,
        metavar="PX",
        help="leave out pictures with a side below (default: 1)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="for what is learned (default: the user's cache)"
    )
    parser.add_argument("--json", action="store_true", help="all that was found, as JSON on stdout")
    parser.add_argument(
        "--leaks",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="look for pictures of train in val and test (default: yes)",
    )
    parser.add_argument(
        "--leak-distance",
        type=int,
        choices=range(MOST_DISTANCE + 1),
        default=DISTANCE,
        metavar="BITS",
        help=f"hash bits of 64 that may differ, up to {MOST_DISTANCE} (default: {DISTANCE})",
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 for corrupt files too")


def run(args: argparse.Namespace) -> int:
    """Check, report; see the module's text for the exit codes."""
    show_notes()
    with progress_bar() as progress:
        task = progress.add_task("decoding", total=None, note="")
        dataset = open_dataset(
            args.path,
            args.layout,
            args.classes,
            args.smallest,
            args.cache,
            lambda done, total: progress.update(task, completed=done, total=total),
            labels=args.label_folders,
            hashed=args.leaks,
        )
        leaks: Sequence[SplitLeaks] = ()
        if args.leaks:
            task = progress.add_task("comparing", total=100, note="")
            leaks = find_leaks(
                dataset,
                args.leak_distance,
                lambda share: progress.update(task, completed=round(100 * share)),
            )
    if args.json:
        json.dump(_report(dataset, leaks), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _show(dataset, leaks, compared=args.leaks)
    corrupt = sum(map(_corrupt, dataset.splits.values()))
    return 1 if leaks or (args.strict and corrupt) else 0


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
    used, lost = folder.pictures.groups(), folder.rejected.pictures.groups()
    return [
        _row(folder.pictures, key, used.get(key, np.zeros(0, np.intp)), len(lost.get(key, ())))
        for key in sorted({*used, *lost})
    ]


def _row(pictures: Pictures, key: tuple[int, str], places: Indices, lost: int) -> SourceRow:
    rows = pictures.rows[places]
    found, counts = np.unique(rows["format"], return_counts=True)
    common = sorted(zip(counts.tolist(), found, strict=True), key=lambda item: -item[0])
    formats = {pictures.format_names[place]: count for count, place in common}
    sizes = None
    if len(rows):
        order = np.argsort(rows["width"].astype(np.int64) * rows["height"])
        least, median, most = (
            (int(row["width"]), int(row["height"])) for row in rows[order[[0, len(order) // 2, -1]]]
        )
        sizes = least, median, most
    return SourceRow(key[1], key[0], len(rows), sizes, formats, lost)


def found_table(dataset: DataSet) -> Table:
    """A row for each split, label and source: counts, sizes, formats, what is left out."""
    title = escape(f"{dataset.root} ({dataset.layout})")
    table = Table(title=title, box=SIMPLE, pad_edge=False)
    table.add_column("split", no_wrap=True)
    table.add_column("label", no_wrap=True)
    table.add_column("source", overflow="fold", min_width=16)
    table.add_column("used", justify="right")
    table.add_column("least, median, most")
    table.add_column("formats")
    table.add_column("left out", justify="right", min_width=8)
    for split, folder in dataset.splits.items():
        for line in _lines(split, source_rows(folder)):
            table.add_row(*line)
        table.add_section()
    return table


def _lines(split: str, rows: Sequence[SourceRow]) -> Iterator[tuple[str, ...]]:
    for number, row in enumerate(rows[:MOST_ROWS]):
        sizes = row.sizes or ()
        shown = sizes[:1] if len(set(sizes)) == 1 else sizes
        yield (
            escape(split) if not number else "",
            LABELS[row.label],
            escape(row.source.encode(errors="replace").decode()),
            str(row.pictures),
            ", ".join(f"{width}×{height}" for width, height in shown),
            ", ".join(f"{name} {count}" for name, count in row.formats.items()),
            str(row.left_out or ""),
        )
    rest = rows[MOST_ROWS:]
    if rest:
        used, lost = sum(row.pictures for row in rest), sum(row.left_out for row in rest)
        yield "", "", f"{len(rest)} more sources", str(used), "", "", str(lost or "")


def found_totals(dataset: DataSet) -> str:
    """Pictures of each label in each split, in one line."""
    sums = []
    for split, folder in dataset.splits.items():
        counts = [f"{sum(folder.sources(label).values())} {LABELS[label]}" for label in (0, 1)]
        sums.append(f"{split}: {' and '.join(counts)}")
    return "; ".join(sums)


def found_notes(dataset: DataSet) -> list[str]:
    """Sentences on what the table does not say: odd files, and formats that betray the label."""
    return [n for name, folder in dataset.splits.items() for n in _notes(name, folder.pictures)]


def _notes(split: str, pictures: Pictures) -> Iterator[str]:
    rows, names = pictures.rows, pictures.format_names
    counts = np.bincount(rows["note"], minlength=len(NOTES))
    odd = [f"{count} {text}" for text, count in zip(NOTES, counts, strict=True) if text and count]
    if odd:
        yield f"{split}: {', '.join(odd)}."
    real, fake = ({names[i] for i in set(rows["format"][rows["label"] == k])} for k in (0, 1))
    if real.isdisjoint(fake):
        yield (
            f"{split}: {LABEL_WORDS[0]} are all {' or '.join(sorted(real))}, {LABEL_WORDS[1]} all "
            f"{' or '.join(sorted(fake))}: the format alone gives the label away. Compress both "
            "in the same way before learning or judging."
        )


def _show(dataset: DataSet, leaks: Sequence[SplitLeaks], compared: bool) -> None:
    out = Console(highlight=False)
    print_table(out, found_table(dataset))
    lines = [found_totals(dataset), *found_notes(dataset), *_left_out(dataset)]
    for line in (*lines, *(_leak_lines(dataset, leaks) if compared else ())):
        # Names of files may hold brackets, and bytes that are no text.
        out.print(line.encode(errors="replace").decode(), markup=False, soft_wrap=True)


def _left_out(dataset: DataSet) -> Iterator[str]:
    for split, folder in dataset.splits.items():
        rejected = folder.rejected
        if rejected:
            yield (
                f"{split}: left out are {_corrupt(folder)} corrupt and {rejected.small} too small "
                "files:"
            )
        yield from (f"  {item.reason}" for item in rejected[:SHOWN])
        if len(rejected) > SHOWN:
            yield f"  and {len(rejected) - SHOWN} more, which --json lists"


def _leak_lines(dataset: DataSet, leaks: Sequence[SplitLeaks]) -> Iterator[str]:
    if TRAIN not in dataset.splits or len(dataset.splits) == 1:
        yield f"No leaks can be looked for: the splits are {', '.join(dataset.splits)}."
        return
    if not leaks:
        yield "No picture of another split matches one of train."
    for found in leaks:
        total = len(dataset.splits[found.split].pictures)
        yield f"{found.split}: {len(found)} of {total} pictures match one of train:"
        yield from (f"  {_pair(leak)}" for leak in islice(found, SHOWN))
        if len(found) > SHOWN:
            yield f"  and {len(found) - SHOWN} more, which --json lists"


def _pair(leak: Leak) -> str:
    labels = "" if leak.held.label == leak.train.label else "; their labels differ"
    return f"{leak.held.path} and {leak.train.path} ({leak.distance} bits apart{labels})"


def _corrupt(folder: PictureFolder) -> int:
    return len(folder.rejected) - folder.rejected.small


def _report(dataset: DataSet, leaks: Sequence[SplitLeaks]) -> dict[str, object]:
    splits = {
        split: {
            "sources": [asdict(row) for row in source_rows(folder)],
            "corrupt": _corrupt(folder),
            "left_out": [{"path": str(r.path), "reason": r.reason} for r in folder.rejected],
        }
        for split, folder in dataset.splits.items()
    }
    return {
        "name": dataset.name,
        "layout": dataset.layout,
        "root": str(dataset.root),
        "splits": splits,
        "notes": found_notes(dataset),
        "leaks": [
            {
                "split": found.split,
                "picture": str(leak.held.path),
                "label": LABELS[leak.held.label],
                "train_picture": str(leak.train.path),
                "train_label": LABELS[leak.train.label],
                "distance": leak.distance,
            }
            for found in leaks
            for leak in found
        ],
    }


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between, found {text!r}.")
    return names


def _label_folders(text: str) -> Labels:
    names = _names(text)
    if len(names) != 2 or names[0] == names[1]:
        raise argparse.ArgumentTypeError(f"expected two folder names as real,fake, found {text!r}.")
    return names[0], names[1]
