"""The labelled pictures and videos that models are judged on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.errors import SourceError, UsageError
from edge.sources.images import VIDEO_SUFFIXES
from training.data.folders import (
    LABEL_FOLDERS,
    LABEL_WORDS,
    UNSORTED,
    Part,
    Picture,
    find_pictures,
    index_pictures,
)
from training.data.layouts import AUTO, VAL, Plan, plan_splits, recognised
from training.data.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled file.

    Attributes:
        picture: its path, label and source.
        data: index of the folder that it was found in.
        video: whether it has frames.
    """

    picture: Picture
    data: int
    video: bool = False


@dataclass(frozen=True, slots=True)
class Material:
    """All that is judged.

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
        return describe_counts([(e.picture.label, e.picture.source, e.video) for e in self.entries])


def open_material(
    folders: Sequence[Path],
    split: str | None = None,
    layout: str = AUTO,
    on_file: Callable[[int], None] = lambda total: None,
) -> Material:
    """Find the labelled files of data sets; pictures are decoded unless they were before.

    With several folders a source is called FOLDER/SOURCE, so that two of one name stay apart.

    Args:
        folders: data sets.
        split: of each; `test` stands for all of `test/…` too. None for the only one, or `val`.
        layout: one of `training.data.layouts.LAYOUTS`, or "auto".
        on_file: called after each picture with the number of pictures of its folder.

    Raises:
        SourceError: a folder has no such layout, or a class has nothing to use.
        UsageError: no such layout, or a data set has no such split.
    """
    entries: list[Entry] = []
    rejected: list[str] = []
    for index, folder in enumerate(folders):
        _, plan = plan_splits(folder, layout)
        found, reasons = _open(folder, _chosen(folder, plan, split), on_file)
        prefix = f"{folder.resolve().name}/" if len(folders) > 1 else ""
        for picture, video in found:
            named = replace(picture, source=f"{prefix}{picture.source}")
            entries.append(Entry(named, index, video))
        rejected += reasons
    return Material(tuple(folders), tuple(entries), tuple(rejected))


def open_photographs(
    folders: Sequence[Path],
    split: str | None = None,
    layout: str = AUTO,
    on_file: Callable[[int], None] = lambda total: None,
) -> Material:
    """Find photographs alone: those of data sets, or all pictures of folders of any other shape.

    A source is a folder below 0_real or below the folder; what lies beside these is called as the
    folder is.

    Args:
        folders: data sets, which need no generated pictures, or plain folders.
        split: as of `open_material`, of data sets.
        layout: likewise.
        on_file: likewise.

    Raises:
        SourceError: no such folder, nothing to use, or generated pictures somewhere in a folder
            that is no data set.
        UsageError: no such layout, or a folder has no such split.
    """
    entries: list[Entry] = []
    rejected: list[str] = []
    for index, folder in enumerate(folders):
        found, reasons = _open(folder, _photograph_parts(folder, split, layout), on_file)
        name = folder.resolve().name
        for picture, video in found:
            source = picture.source if len(folders) == 1 else f"{name}/{picture.source}"
            source = name if picture.source == UNSORTED else source
            entries.append(Entry(replace(picture, source=source), index, video))
        rejected += reasons
    return Material(tuple(folders), tuple(entries), tuple(rejected))


def describe_counts(found: Sequence[tuple[int, str, bool]]) -> str:
    """How many photographs and generated pictures of which sources, in one line.

    Args:
        found: label, source and whether it is a video, for each.
    """
    parts = []
    for label, word in enumerate(LABEL_WORDS):
        of_label = [(source, video) for this, source, video in found if this == label]
        videos = sum(video for _, video in of_label)
        kind = word if not videos else f"{word} (of these videos: {videos})"
        sources = Counter(source for source, _ in of_label)
        listed = ", ".join(f"{name} {count}" for name, count in sorted(sources.items()))
        parts.append(f"{len(of_label)} {kind}: {listed}" if of_label else f"no {word}")
    return "; ".join(parts)


def _open(
    folder: Path, parts: Sequence[Part], on_file: Callable[[int], None]
) -> tuple[list[tuple[Picture, bool]], list[str]]:
    videos = list(_videos(parts))
    found = find_pictures(parts)
    if videos and not len(found):
        _require_every_label(parts, videos)
        return [(video, True) for video in videos], []
    with Ledger(None, folder) as ledger:
        pictures = index_pictures(found, parts, ledger, on_file=lambda: on_file(len(found)))
    reasons = [rejected.reason for rejected in pictures.rejected]
    return [(p, False) for p in pictures.pictures] + [(v, True) for v in videos], reasons


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
        _require_no_generated(folder)
        return [Part(folder, 0)]
    _, plan = plan_splits(folder, layout)
    return [part for part in _chosen(folder, plan, split) if part.label == 0]


def _require_no_generated(folder: Path) -> None:
    name = LABEL_FOLDERS[1]
    inside = [folder] if folder.resolve().name == name else folder.rglob(name)
    found = next((place for place in inside if place.is_dir()), None)
    if found:
        raise SourceError(
            f"{found} holds generated pictures by its name, and {folder} was expected to hold "
            "photographs alone. Name the folder of the photographs."
        )


def _videos(parts: Sequence[Part]) -> Iterator[Picture]:
    for part in parts:
        for path in sorted(part.folder.rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                inside = path.relative_to(part.folder).parts
                below = inside[0] if len(inside) > 1 else UNSORTED
                yield Picture(path, part.label, part.source or below)


def _require_every_label(parts: Sequence[Part], videos: Sequence[Picture]) -> None:
    for label in sorted({part.label for part in parts}):
        if not any(video.label == label for video in videos):
            lacking = [str(part.folder) for part in parts if part.label == label]
            raise SourceError(
                f"{lacking[0]} has no video. Expected both {' and '.join(LABEL_FOLDERS)} to hold "
                "some, or both to hold pictures."
            )
