"""The labelled pictures and videos that models are evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edge.errors import SourceError, UsageError
from edge.sources.images import VIDEO_SUFFIXES
from training.data.folders import (
    LABEL_FOLDERS,
    LABEL_WORDS,
    UNSORTED,
    Part,
    Picture,
    Rejected,
    find_pictures,
    index_pictures,
)
from training.data.layouts import AUTO, VAL, Plan, plan_splits, recognised
from training.data.ledger import Ledger


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
        rejected: the files that were left out.
    """

    data: tuple[Path, ...]
    entries: tuple[Entry, ...]
    rejected: tuple[Rejected, ...]

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


def open_material(
    folders: Sequence[Path],
    split: str | None = None,
    layout: str = AUTO,
    on_file: Callable[[int], None] = lambda total: None,
    photographs_only: bool = False,
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
        photographs_only: pass generated pictures over.

    Raises:
        SourceError: a folder has no such layout, a class has nothing to use, or generated pictures
            are somewhere in a plain folder.
        UsageError: no such layout, or a data set has no such split.
    """
    entries: list[Entry] = []
    rejected: list[Rejected] = []
    for index, folder in enumerate(folders):
        if photographs_only:
            parts = _photograph_parts(folder, split, layout)
        else:
            parts = _chosen(folder, plan_splits(folder, layout)[1], split)
        found, reasons = _open(folder, parts, on_file)
        name = folder.resolve().name
        for picture, video in found:
            source = f"{name}/{picture.source}" if len(folders) > 1 else picture.source
            if photographs_only and picture.source == UNSORTED:
                source = name
            entries.append(Entry(replace(picture, source=source), index, video))
        rejected += reasons
    return Material(tuple(folders), tuple(entries), tuple(rejected))


def _open(
    folder: Path, parts: Sequence[Part], on_file: Callable[[int], None]
) -> tuple[list[tuple[Picture, bool]], list[Rejected]]:
    videos = [(video, True) for video in _videos(parts)]
    found = find_pictures(parts)
    if videos and not len(found):
        for part in parts:
            if not any(video.label == part.label for video, _ in videos):
                raise SourceError(
                    f"{part.folder} has no video. Expected both {' and '.join(LABEL_FOLDERS)} to "
                    "hold some, or both to hold pictures."
                )
        return videos, []
    with Ledger(None, folder) as ledger:
        pictures = index_pictures(found, parts, ledger, on_file=lambda: on_file(len(found)))
    return [*((p, False) for p in pictures.pictures), *videos], [*pictures.rejected]


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


def _photograph_parts(folder: Path, split: str | None, layout: str) -> list[Part]:
    own = folder / LABEL_FOLDERS[0]
    if layout == AUTO and split is None and own.is_dir():
        return [Part(own, 0)]
    if layout == AUTO and split is None and folder.is_dir() and not recognised(folder):
        name = LABEL_FOLDERS[1]
        inside = [folder] if folder.resolve().name == name else folder.rglob(name)
        for place in filter(Path.is_dir, inside):
            raise SourceError(
                f"{place} holds generated pictures by its name, and {folder} was expected to hold "
                "photographs alone. Name the folder of the photographs."
            )
        return [Part(folder, 0)]
    _, plan = plan_splits(folder, layout)
    return [part for part in _chosen(folder, plan, split) if part.label == 0]


def _videos(parts: Sequence[Part]) -> Iterator[Picture]:
    for part in parts:
        for path in sorted(part.folder.rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                inside = path.relative_to(part.folder).parts
                below = inside[0] if len(inside) > 1 else UNSORTED
                yield Picture(path, part.label, part.source or below)
