"""A video that was found in a data set, before its faces are cut."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.faces.sets import LabelWord, Split, Video

SHOWN = 10
"""Names that a note lists; the manifest holds all."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video with what its place and its name say of it.

    Attributes:
        path: of the file.
        label: `real` or `fake`.
        split: None until people are dealt out.
        manipulation: how a fake was made; None for a real one, or where it is not known.
        compression: as the folder is called; None where there is none.
        people: who is to be seen; empty where it is not known.
    """

    path: Path
    label: LabelWord
    split: Split | None = None
    manipulation: str | None = None
    compression: str | None = None
    people: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """What was found of a data set.

    Attributes:
        root: its folder.
        clips: its videos.
        notes: what is missing or was left out, in sentences.
    """

    root: Path
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]


def named(text: str, names: Sequence[object]) -> str:
    """A sentence's beginning with the names that it is about, the first of them if many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{text}: {', '.join(str(name) for name in names[:SHOWN])}{more}."


def without_copies(videos: Iterable[Video]) -> tuple[list[Video], list[str]]:
    """Each file once: of equal ones, one of test is kept, else of val, else the first.

    A file that is labelled both real and fake is left out.

    Returns:
        The videos in their order, and sentences on what was left out.
    """
    alike: dict[str, list[Video]] = defaultdict(list)
    everything = list(videos)
    for video in everything:
        alike[video.sha256].append(video)
    kept = {id(_chosen(group)) for group in alike.values() if _of_one_label(group)}
    copies = [group for group in alike.values() if len(group) > 1]
    notes = [_copies_note(group) for group in copies[:SHOWN]]
    if len(copies) > SHOWN:
        notes.append(
            f"{len(copies) - SHOWN} more files are there more than once; each counts once."
        )
    return [video for video in everything if id(video) in kept], notes


def _of_one_label(group: Sequence[Video]) -> bool:
    return len({video.label for video in group}) == 1


def _chosen(group: Sequence[Video]) -> Video:
    return min(group, key=lambda video: ("test", "val", "train").index(video.split))


def _copies_note(group: Sequence[Video]) -> str:
    paths = " and ".join(f"{video.path} ({video.split}, {video.label})" for video in group)
    if not _of_one_label(group):
        return f"One file is labelled both real and fake, and left out: {paths}."
    return f"One file is there more than once, and counts in {_chosen(group).split} alone: {paths}."
