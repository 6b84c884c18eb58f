"""Check a data set before a training: decode every file, count, and look for leaks between splits.

Shows what was found per split, label and source, which files are left out and why, and which
pictures of val and test are alike one of train. What was learned of a file is kept in the user's
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
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from edge.terminal import console, positive, show_notes
from training.data.dataset import DataSet, open_dataset
from training.data.folders import LABEL_FOLDERS
from training.data.layouts import AUTO, LAYOUTS, TRAIN, Labels
from training.data.leaks import DISTANCE, MOST_DISTANCE, Leak, SplitLeaks, find_leaks
from training.data.table import LABELS, found_notes, found_table, found_totals, source_rows

SHOWN = 10
"""Files and pairs listed for each split; --json lists all."""

MOST_WIDTH = 10_000
"""Characters of a row that is not shown on a terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch data check`."""
    parser.add_argument("path", type=Path, metavar="DATA", help="folder of the data set")
    parser.add_argument(
        "--layout", choices=(AUTO, *LAYOUTS), default=AUTO, help="of DATA (default: found out)"
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
    with _progress() as progress:
        dataset = _opened(args, progress)
        leaks = _leaks(dataset, args.leak_distance, progress) if args.leaks else []
    if args.json:
        json.dump(_report(dataset, leaks), sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _show(dataset, leaks, compared=args.leaks)
    corrupt = sum(_corrupt(dataset).values())
    return 1 if leaks or (args.strict and corrupt) else 0


def _opened(args: argparse.Namespace, progress: Progress) -> DataSet:
    task = progress.add_task("finding files", total=None)

    def on_file(done: int, total: int) -> None:
        progress.update(task, description="decoding", completed=done, total=total)

    return open_dataset(
        args.path,
        args.layout,
        args.classes,
        args.smallest,
        args.cache,
        on_file,
        labels=args.label_folders,
        hashed=args.leaks,
    )


def _leaks(dataset: DataSet, distance: int, progress: Progress) -> list[SplitLeaks]:
    task = progress.add_task("comparing", total=100)
    return find_leaks(
        dataset, distance, lambda share: progress.update(task, completed=round(100 * share))
    )


def _show(dataset: DataSet, leaks: Sequence[SplitLeaks], compared: bool) -> None:
    out, table = Console(highlight=False), found_table(dataset)
    if not out.is_terminal:  # a file has no edge that a row must be fitted to
        unbounded = out.options.update(max_width=MOST_WIDTH)
        out.width = max(out.width, Measurement.get(out, unbounded, table).maximum)
    out.print(table)
    for line in (found_totals(dataset), *found_notes(dataset), *_left_out(dataset)):
        _say(out, line)
    if compared:
        for line in _leak_lines(dataset, leaks):
            _say(out, line)


def _say(out: Console, line: str) -> None:
    # Names of files may hold brackets, and bytes that are no text.
    out.print(line.encode(errors="replace").decode(), markup=False, soft_wrap=True)


def _left_out(dataset: DataSet) -> Iterator[str]:
    corrupt = _corrupt(dataset)
    for split, folder in dataset.splits.items():
        rejected = folder.rejected
        if rejected:
            small = len(rejected) - corrupt[split]
            yield f"{split}: left out are {corrupt[split]} corrupt and {small} too small files:"
        yield from (f"  {item.reason}" for item in rejected[:SHOWN])
        if len(rejected) > SHOWN:
            yield f"  and {len(rejected) - SHOWN} more, which --json lists"


def _leak_lines(dataset: DataSet, leaks: Sequence[SplitLeaks]) -> Iterator[str]:
    if TRAIN not in dataset.splits or len(dataset.splits) == 1:
        yield f"No leaks can be looked for: the splits are {', '.join(dataset.splits)}."
        return
    if not leaks:
        yield "No picture of another split is alike one of train."
    for found in leaks:
        total = len(dataset.splits[found.split].pictures)
        yield f"{found.split}: {len(found)} of {total} pictures are alike one of train:"
        yield from (f"  {_pair(leak)}" for leak in found[:SHOWN])
        if len(found) > SHOWN:
            yield f"  and {len(found) - SHOWN} more, which --json lists"


def _pair(leak: Leak) -> str:
    labels = "" if leak.held.label == leak.train.label else "; their labels differ"
    return f"{leak.held.path} and {leak.train.path} ({leak.distance} bits apart{labels})"


def _corrupt(dataset: DataSet) -> dict[str, int]:
    """Per split the files that are left out for another reason than their size."""
    return {
        split: len(folder.rejected) - int(folder.rejected.small.sum())
        for split, folder in dataset.splits.items()
    }


def _report(dataset: DataSet, leaks: Sequence[SplitLeaks]) -> dict[str, object]:
    corrupt = _corrupt(dataset)
    splits = {
        split: {
            "sources": [asdict(row) for row in source_rows(folder)],
            "corrupt": corrupt[split],
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
        "leaks": [_leak(found.split, leak) for found in leaks for leak in found],
    }


def _leak(split: str, leak: Leak) -> dict[str, object]:
    return {
        "split": split,
        "picture": str(leak.held.path),
        "label": LABELS[leak.held.label],
        "train_picture": str(leak.train.path),
        "train_label": LABELS[leak.train.label],
        "distance": leak.distance,
    }


@contextmanager
def _progress() -> Iterator[Progress]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield progress


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
