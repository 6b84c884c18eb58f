"""The labelled pictures and videos that models are evaluated on."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from edge.errors import SourceError, UsageError
from edge.labels import LABEL_WORDS, STANDARD, UNSORTED, LabelFolders, add_label_folders
from edge.sources.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from edge.terminal import console
from training.data.folders import (
    Part,
    Picture,
    find_pictures,
    index_pictures,
    label_parts,
    named_files,
)
from training.data.layouts import AUTO, LAYOUTS, TEST, VAL, Plan, plan_splits, recognised
from training.data.ledger import Ledger
from training.flags import add_flags
from training.progress import advancing, print_rejected

PIPE_WIDTH = 200


def add_material_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --split, --layout, --label-folders, --workers and --threads."""
    add = parser.add_argument
    add(
        "--split",
        metavar="NAME",
        help=f"part of each data set; {TEST} takes all of {TEST}/… (default: {VAL}, or the only)",
    )
    add(
        "--layout",
        choices=(AUTO, *LAYOUTS),
        default=AUTO,
        help="how the data sets lie in folders (default: %(default)s)",
    )
    add_label_folders(parser)
    add_flags(
        parser, "--workers", default=0, help="processes that degrade pictures (default: none)"
    )
    add_flags(parser, "--threads")


class Entry(NamedTuple):
    """One labelled file, and the index of the folder that it was found in."""

    picture: Picture
    data: int
    video: bool = False


class Material(NamedTuple):
    """All that is scored.

    Attributes:
        data: the folders as they were given.
        entries: in order; both labels occur, unless only photographs were asked for.
        rejected: a sentence for each file that was left out.
    """

    data: tuple[Path, ...]
    entries: tuple[Entry, ...]
    rejected: tuple[str, ...]

    def describe(self) -> str:
        """How many of which sources, in one line."""
        parts = []
        for label, word in enumerate(LABEL_WORDS):
            found = [entry for entry in self.entries if entry.picture.label == label]
            videos = sum(entry.video for entry in found)
            kind = word if not videos else f"{word} (of these videos: {videos})"
            sources = Counter(entry.picture.source for entry in found)
            listed = ", ".join(f"{name} {count}" for name, count in sorted(sources.items()))
            parts.append(f"{len(found)} {kind}: {listed}" if found else f"no {word}")
        return "; ".join(parts)


def find_material(args: argparse.Namespace, photographs_only: bool = False) -> Material:
    """`open_material` of `args.data`, and a line on what was found and what is left out."""
    out = console()
    with advancing("reading the data") as advance:
        each, labels = partial(advance, 1), args.label_folders
        material = open_material(args.data, args.split, args.layout, each, photographs_only, labels)
    out.print(material.describe(), markup=False, soft_wrap=True)
    print_rejected(out, material.rejected)
    return material


def results_console() -> Console:
    """For tables, on stdout; wide where no terminal bounds it, or a pipe would cut the figures."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def open_material(
    folders: Sequence[Path],
    split: str | None = None,
    layout: str = AUTO,
    on_file: Callable[[int], None] = lambda total: None,
    photographs_only: bool = False,
    labels: LabelFolders = STANDARD,
) -> Material:
    """Find the labelled files of data sets; pictures are decoded unless they were before.

    With several folders a source is called FOLDER/SOURCE, so that two of one name stay apart.
    With `photographs_only`, data sets need no generated pictures, and a folder may also be a plain
    one of pictures, each folder below it a source; what lies beside these is called as the folder.

    Args:
        folders: data sets.
        split: of each; `test` stands for all of `test/…` too. None for the only one, or `val`.
        layout: one of `training.data.layouts.LAYOUTS`, or "auto".
        on_file: called after each picture with the number of pictures of its folder.

    Raises:
        SourceError: a folder has no such layout, a class has nothing to use, or generated pictures
            are somewhere in a plain folder.
        UsageError: no such layout, or a data set has no such split.
    """
    entries: list[Entry] = []
    rejected: list[str] = []
    for index, folder in enumerate(folders):
        if photographs_only:
            parts = _photograph_parts(folder, split, layout, labels)
        else:
            parts = _chosen(folder, plan_splits(folder, layout, (), labels)[1], split)
        name = folder.resolve().name
        videos, found = list(_videos(parts)), find_pictures(parts)
        pictures: Sequence[Picture] = ()
        if found or not videos:
            with Ledger(None, folder) as ledger:
                done = partial(on_file, len(found))
                index_of = index_pictures(found, parts, ledger, on_file=done)
            pictures = index_of.pictures
            rejected += [one.reason for one in index_of.rejected]
        else:
            _require_both(parts, videos, labels)
        both = [*((p, False) for p in pictures), *((v, True) for v in videos)]
        for picture, video in both:
            source = f"{name}/{picture.source}" if len(folders) > 1 else picture.source
            if photographs_only and picture.source == UNSORTED:
                source = name
            entries.append(Entry(replace(picture, source=source), index, video))
    return Material(tuple(folders), tuple(entries), tuple(rejected))


def _require_both(parts: Sequence[Part], videos: Sequence[Picture], labels: LabelFolders) -> None:
    for part in parts:
        if not any(video.label == part.label for video in videos):
            raise SourceError(
                f"{part.folder} has no video. Expected folders of both labels "
                f"({labels.describe()}) to hold some, or both to hold pictures."
            )


def _chosen(folder: Path, plan: Plan, split: str | None) -> list[Part]:
    wanted = split or (next(iter(plan)) if len(plan) == 1 else VAL)
    parts = [
        part
        for name, parts in plan.items()
        if name == wanted or name.startswith(f"{wanted}/")
        for part in parts
    ]
    if not parts:
        raise UsageError(
            f"{folder} has no split {wanted!r}. Give one of {', '.join(plan)} as --split."
        )
    return list(dict.fromkeys(parts))  # generators may share their photographs


def _photograph_parts(
    folder: Path, split: str | None, layout: str, labels: LabelFolders
) -> list[Part]:
    own = [part for part in label_parts(folder, labels) if part.label == 0]
    if layout == AUTO and split is None and own:
        return own
    if layout == AUTO and split is None and folder.is_dir() and not recognised(folder, labels):
        for path in named_files(folder, IMAGE_SUFFIXES | VIDEO_SUFFIXES):
            above = {folder.resolve().name, *path.relative_to(folder).parts[:-1]}
            if above & {*labels.names(1)}:
                raise SourceError(
                    f"{path.parent} holds generated pictures by its name, and {folder} was "
                    "expected to hold photographs alone. Name the folder of the photographs."
                )
        return [Part(folder, 0)]
    _, plan = plan_splits(folder, layout, (), labels)
    return [part for part in _chosen(folder, plan, split) if part.label == 0]


def _videos(parts: Sequence[Part]) -> Iterator[Picture]:
    for part in parts:
        for path in named_files(part.folder, VIDEO_SUFFIXES):
            yield Picture(path, part.label, part.source_of(path.relative_to(part.folder).parts))
