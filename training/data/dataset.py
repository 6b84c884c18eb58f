"""A data set, opened: its splits, each file decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edge.errors import SourceError, UsageError
from edge.labels import STANDARD, LabelFolders
from training.data.config import DataConfig
from training.data.folders import (
    PictureFolder,
    find_pictures,
    index_pictures,
    labelled_parts,
)
from training.data.layouts import AUTO, TRAIN, plan_splits
from training.data.ledger import Ledger
from training.data.shards import ShardSet, find_shards
from training.progress import advancing, print_rejected


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Labelled pictures in splits: `train`, `val`, `test`, `test/<generator or platform>`, or
    `all`; `layout` is one in `training.data.layouts.LAYOUTS`.
    """

    layout: str
    root: Path
    splits: Mapping[str, PictureFolder]


def open_dataset(
    path: Path,
    layout: str = AUTO,
    classes: Sequence[str] = (),
    cache: Path | None = None,
    hashed: bool = False,
    on_file: Callable[[int], None] = lambda total: None,
    labels: LabelFolders = STANDARD,
) -> DataSet:
    """Find the pictures of a data set; a file is decoded unless it was at an earlier start.

    `cache` is for what was found, None for the user's cache folder; `hashed` computes perceptual
    hashes too, as the search for leaks needs; `on_file` is called after each file with how many
    there are.

    Raises:
        SourceError: the folder is missing, fits no layout, or a split lacks a label.
        UsageError: no such layout or class, or the cache would lie in the data.
        MissingDependency: hashes are asked for, and the library is absent.
    """
    name, plan = plan_splits(path, layout, classes, labels)
    found = {split: find_pictures(parts) for split, parts in plan.items()}
    total = sum(map(len, found.values()))
    with Ledger(cache, path) as ledger:
        splits = {
            split: index_pictures(
                found[split], parts, ledger, hashed=hashed, on_file=lambda: on_file(total)
            )
            for split, parts in plan.items()
        }
    return DataSet(name, path, splits)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from (`train`, or `split` of `shards`), and what it is judged on."""

    train: PictureFolder | None
    val: PictureFolder
    shards: ShardSet | None = None
    split: str = TRAIN

    def describe(self) -> str:
        """What is learned from, in one line."""
        if self.shards is not None:
            return self.shards.describe(self.split)
        return self.train.describe() if self.train else ""


def _joined(first: PictureFolder, data: DataConfig, split: str, least: int) -> PictureFolder:
    """A split with that of further folders; what has no splits is all to be learned from."""
    folders = [first]
    for path in data.more:
        whole = split == TRAIN and bool(labelled_parts(path, data.label_folders))
        parts = labelled_parts(path if whole else path / split, data.label_folders)
        if not parts and split == TRAIN:
            raise SourceError(
                f"data.more: expected pictures in {path} or its {TRAIN}/ "
                f"({data.label_folders.describe()}), found none."
            )
        with Ledger(None, path) as ledger:
            folders.append(index_pictures(find_pictures(parts), parts, ledger, least))
    return PictureFolder(
        tuple(one for folder in folders for one in folder.pictures),
        tuple(one for folder in folders for one in folder.probed),
        tuple(one for folder in folders for one in folder.rejected),
    )


def open_training_data(
    data: DataConfig, folder: Path | None, smallest: int, out: Console, streams: bool = False
) -> TrainingData:
    """Find all pictures of a training; those that are too small or unreadable are listed on `out`.

    `folder` goes before the configuration's path; `smallest` is the least side of a validation
    picture in pixels; `streams` says that whoever asks can learn from shards.

    Raises:
        UsageError: no folder is named, the layout has no such class, or shards do not go with what
            is wanted.
        SourceError: a folder is missing, has another layout, or has nothing to use.
    """
    root = folder or data.path
    if root is None:
        raise UsageError("no pictures are named. Give --data PATH, or data.path in the file.")
    if (shards := find_shards(root, data.layout)) is not None:
        return _open_shards(shards, data, smallest, out, streams)

    _, plan = plan_splits(root, data.layout, data.classes, data.label_folders)

    def split(name: str, least: int) -> PictureFolder:
        if name not in plan:
            raise SourceError(f"{root} has no split {name!r}. It has {', '.join(plan)}.")
        pictures = find_pictures(plan[name])
        note = f"looking through {name}"
        with Ledger(None, root) as ledger, advancing(note, len(pictures), out) as advance:
            done = index_pictures(pictures, plan[name], ledger, least, on_file=advance)
        out.print(f"{root / name}: {done.describe()}")
        print_rejected(out, [one.reason for one in done.rejected])
        return done

    sides = (data.crop, smallest) if data.resize is None else (1, 1)
    train = _joined(split(data.train, sides[0]), data, data.train, sides[0])
    val = _joined(split(data.val, sides[1]), data, data.val, sides[1])
    return TrainingData(train, val)


def _open_shards(
    shards: ShardSet, data: DataConfig, smallest: int, out: Console, streams: bool
) -> TrainingData:
    if not streams:
        raise UsageError(
            f"{shards.shown} has shards, which only 'train' and 'distill' read. Expected a folder."
        )
    if data.more or data.classes:
        raise UsageError(
            "data.more and data.classes do not go with shards. Leave them out, or write them into "
            "the shards."
        )
    out.print(f"{shards.shown}: {shards.describe(data.train)}", markup=False)
    parts = shards.unpack(data.val)
    least = smallest if data.resize is None else 1
    with Ledger(None, parts[0].folder.parent) as ledger:
        val = index_pictures(find_pictures(parts), parts, ledger, least)
    out.print(f"{data.val}: {val.describe()}", markup=False)
    print_rejected(out, [one.reason for one in val.rejected])
    return TrainingData(None, val, shards, data.train)
