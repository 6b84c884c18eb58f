"""A data set, opened: its splits, each file decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Console

from edge.errors import SourceError, UsageError
from training.data.config import DataConfig
from training.data.folders import LABEL_FOLDERS, PictureFolder, find_pictures, index_pictures
from training.data.layouts import AUTO, Labels, Plan, plan_splits
from training.data.ledger import Ledger
from training.pairs.folder import read_pairs
from training.progress import print_rejected, progress_bar

if TYPE_CHECKING:
    from training.data.samples import AlignedPair

OnFile = Callable[[int, int], None]
"""Called after each file with how many are done, and with how many there are."""


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Labelled pictures in splits: `train`, `val`, `test`, `test/<generator or platform>`, or
    `all`.

    `name` is that of its folder, `layout` one in `training.data.layouts.LAYOUTS`.
    """

    name: str
    layout: str
    root: Path
    splits: Mapping[str, PictureFolder]


def open_dataset(
    path: Path,
    layout: str = AUTO,
    classes: Sequence[str] = (),
    smallest: int = 1,
    cache: Path | None = None,
    on_file: OnFile = lambda done, total: None,
    labels: Labels = LABEL_FOLDERS,
    hashed: bool = False,
) -> DataSet:
    """Find the pictures of a data set; a file is decoded unless it was at an earlier start.

    `smallest` is the least side in pixels; `cache` is for what was found, None for the user's
    cache folder; `hashed` computes perceptual hashes too, as the search for leaks needs.

    Raises:
        SourceError: the folder is missing, fits no layout, or a split lacks a label.
        UsageError: no such layout or class, or the cache would lie in the data.
        MissingDependency: hashes are asked for, and the library is absent.
    """
    name, plan = plan_splits(path, layout, classes, labels)
    found = {split: find_pictures(parts) for split, parts in plan.items()}
    total, done = sum(map(len, found.values())), 0

    def count() -> None:
        nonlocal done
        done += 1
        on_file(done, total)

    splits = {}
    with Ledger(cache, path) as ledger:
        for split, parts in plan.items():
            pictures = found.pop(split)
            splits[split] = index_pictures(pictures, parts, ledger, smallest, hashed, count)
    return DataSet(path.resolve().name, name, path, MappingProxyType(splits))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from (`train` is None with pairs alone), and what it is judged on."""

    train: PictureFolder | None
    val: PictureFolder
    pairs: tuple[AlignedPair, ...]

    def describe(self) -> str:
        """What is learned from, in one line."""
        decoders = sorted({pair.decoder for pair in self.pairs})
        pairs = f"{len(self.pairs)} photographs with reconstructions by {', '.join(decoders)}"
        learned = [self.train.describe()] if self.train else []
        return " and ".join(learned + [pairs] * bool(self.pairs))


def open_training_data(
    data: DataConfig, folder: Path | None, smallest: int, out: Console
) -> TrainingData:
    """Find all pictures of a training; those that are too small or unreadable are listed on `out`.

    `folder` goes before the configuration's path; `smallest` is the least side of a validation
    picture in pixels.

    Raises:
        UsageError: no folder is named, or the layout has no such class.
        SourceError: a folder is missing, has another layout, or has nothing to use.
    """
    folder = folder or data.path
    if folder is None:
        raise UsageError("no pictures are named. Give --data PATH, or data.path in the file.")
    pairs: list[AlignedPair] = []
    for path in data.pairs:
        found = read_pairs(path)
        out.print(f"{path}: {len(found)} photographs with their reconstructions")
        pairs += found
    _, plan = plan_splits(folder, data.layout, data.classes)
    least = (data.crop, smallest) if data.resize is None else (1, 1)
    with Ledger(None, folder) as ledger:
        train = _split(folder, plan, data.train, least[0], ledger, out) if data.labelled else None
        val = _split(folder, plan, data.val, least[1], ledger, out)
    return TrainingData(train, val, tuple(pairs))


def _split(
    folder: Path, plan: Plan, name: str, smallest: int, ledger: Ledger, out: Console
) -> PictureFolder:
    if name not in plan:
        raise SourceError(f"{folder} has no split {name!r}. It has {', '.join(plan)}.")
    pictures = find_pictures(plan[name])
    with progress_bar(out) as progress:
        task = progress.add_task(f"looking through {name}", total=len(pictures), note="")
        found = index_pictures(
            pictures, plan[name], ledger, smallest, on_file=lambda: progress.advance(task)
        )
    out.print(f"{folder / name}: {found.describe()}")
    print_rejected(out, found.rejected)
    return found
