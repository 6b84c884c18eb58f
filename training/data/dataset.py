"""A data set, opened: its splits, each file decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from training.data.folders import LABEL_FOLDERS, PictureFolder, find_pictures, index_pictures
from training.data.layouts import AUTO, Labels, plan_splits
from training.data.ledger import Ledger

OnFile = Callable[[int, int], None]
"""Called after each file with how many are done, and with how many there are."""


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Labelled pictures in splits.

    Attributes:
        name: of its folder.
        layout: a name in `training.data.layouts.LAYOUTS`.
        root: its folder.
        splits: by name: `train`, `val`, `test`, `test/<generator or platform>`, or `all`.
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

    Args:
        path: its folder.
        layout: a name in `training.data.layouts.LAYOUTS`, or "auto".
        classes: to learn from, where the layout has such; empty for all.
        smallest: least height and width in pixels.
        cache: folder to keep in what was found; None for the user's cache folder.
        on_file: called after each file.
        labels: folders of photographs and of generated pictures.
        hashed: compute perceptual hashes too, as the search for leaks needs.

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
