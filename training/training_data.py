"""The pictures of a training, as its configuration names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edge.errors import SourceError, UsageError
from training.data.config import DataConfig
from training.data.folders import PictureFolder, Rejected, find_pictures, index_pictures
from training.data.layouts import Plan, plan_splits
from training.data.ledger import Ledger
from training.data.samples import AlignedPair
from training.pairs.folder import read_pairs
from training.progress import progress_bar

if TYPE_CHECKING:
    from training.config import ModelConfig

SHOWN_REJECTED = 5


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learned from, and what it is judged on.

    Attributes:
        train: None where only pairs are learned from.
        val: with labels.
        pairs: photographs with their reconstructions; may be empty.
    """

    train: PictureFolder | None
    val: PictureFolder
    pairs: tuple[AlignedPair, ...]

    def describe(self) -> str:
        """What is learned from, in one line."""
        decoders = sorted({pair.decoder for pair in self.pairs})
        pairs = f"{len(self.pairs)} photographs with reconstructions by {', '.join(decoders)}"
        learned = [self.train.describe()] if self.train else []
        return " and ".join(learned + [pairs] * bool(self.pairs))


def find_data(
    config: ModelConfig, folder: Path | None, smallest: int, out: Console
) -> TrainingData:
    """See `find_pictures_of`."""
    return find_pictures_of(config.data, folder, smallest, out)


def find_pictures_of(
    data: DataConfig, folder: Path | None, smallest: int, out: Console
) -> TrainingData:
    """Find all pictures; those that are too small or unreadable are left out with a word.

    Args:
        data: says which.
        folder: goes before the configuration's path.
        smallest: least side of a validation picture in pixels.
        out: where people read.

    Raises:
        UsageError: no folder is named, or the layout has no such class.
        SourceError: a folder is missing, has another layout, or has nothing to use.
    """
    folder = folder or data.path
    if folder is None:
        raise UsageError("no pictures are named. Give --data PATH, or data.path in the file.")
    pairs = tuple(pair for path in data.pairs for pair in _pairs(path, out))
    _, plan = plan_splits(folder, data.layout, data.classes)
    least = (data.crop, smallest) if data.resize is None else (1, 1)
    with Ledger(None, folder) as ledger:
        train = _split(folder, plan, data.train, least[0], ledger, out) if data.labelled else None
        val = _split(folder, plan, data.val, least[1], ledger, out)
    return TrainingData(train, val, pairs)


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
        progress.remove_task(task)
    out.print(f"{folder / name}: {found.describe()}")
    _print_rejected(found.rejected, out)
    return found


def _print_rejected(rejected: Sequence[Rejected], out: Console) -> None:
    if rejected:
        out.print(f"{len(rejected)} files are left out:")
    for one in rejected[:SHOWN_REJECTED]:
        out.print(f"  {one.reason}")
    if len(rejected) > SHOWN_REJECTED:
        out.print(f"  and {len(rejected) - SHOWN_REJECTED} more")


def _pairs(path: Path, out: Console) -> Sequence[AlignedPair]:
    pairs = read_pairs(path)
    out.print(f"{path}: {len(pairs)} photographs with their reconstructions")
    return pairs
