"""Compare a new model with the one that it is to replace, on old and on new material.

Both score the same pictures, untouched and compressed. For each folder stand the share of the
photographs that are called fake, of the generated pictures that are, and the AUC, of both models,
and the difference with an interval over pictures that were drawn again, the same for both. The new
model is worse where such an interval lies wholly on the wrong side; then the exit code is 3, so
that a script does not put it in place.

    patchwatch compare lite0-levels runs/next/lite0-levels.safetensors pictures/ kept/
    patchwatch compare old.onnx new.onnx kept/ && cp new.onnx /etc/patchwatch/model.onnx

Of a folder with train/ and val/ the pictures of val/ are taken, as both models may have learned
from train/; one with photographs alone, or generated pictures alone, is judged by these.

Exit codes: 0 the new one is nowhere worse, 3 it is, 1 they could not be compared, 2 wrong usage,
130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.errors import SourceError
from edge.labels import LabelFolders, add_label_folders
from edge.manifest import Calibration
from edge.signals import stop_signals
from training.data.folders import find_pictures, index_pictures, labelled_parts
from training.data.layouts import TRAIN, VAL, refuse_shards, require_folder
from training.data.ledger import Ledger
from training.degrade import JPEG_75, UNTOUCHED
from training.evaluation import metrics
from training.evaluation.material import Entry, Material, results_console
from training.evaluation.metrics import DRAWS, Estimate, estimate, measure, resampled
from training.evaluation.record import Logits, Record
from training.evaluation.report import Grid
from training.evaluation.scorers import ModelOptions, open_scorers, training_installed
from training.flags import add_flags
from training.progress import print_rejected

WORSE = 3
SCORED = (UNTOUCHED, JPEG_75)
ALARMS, FOUND, AUC = "photographs called fake", "generated pictures found", "AUC"
_SHOWN = {ALARMS: metrics.FALSE_ALARMS, FOUND: metrics.FOUND, AUC: metrics.AUC}
"""As it is shown → as it is measured."""

_BEYOND = 1e9
"""The logit that stands for none: a mistake, whatever the label."""


class Side(NamedTuple):
    """A model's logits of one folder under one degradation."""

    reals: Logits
    fakes: Logits
    calibration: Calibration


class Row(NamedTuple):
    """A measure of both models, and their difference with its 95 % interval."""

    folder: str
    column: str
    measure: str
    old: float
    new: float
    change: Estimate

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies on the wrong side."""
        _, low, high = self.change
        return low > 0 if self.measure == ALARMS else high < 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `patchwatch compare`."""
    add = parser.add_argument
    add("old", metavar="OLD", help="model that is in use: a shipped name or a file")
    add("new", metavar="NEW", help="model that is to replace it")
    add("data", type=Path, nargs="+", metavar="DATA", help="folders of labelled pictures")
    add("--seed", type=int, default=0, metavar="N", help="of the intervals (default: 0)")
    add_label_folders(parser)
    add_flags(parser, "--workers", default=0, help="processes that degrade pictures")
    add_flags(parser, "--threads")


def run(args: argparse.Namespace) -> int:
    """Score, compare, print."""
    with stop_signals(), training_installed():
        record = _scored(args)
        rows = list(compared(record, args.seed))
    out = results_console()
    names = [model.name for model in record.models]
    out.print(_grid(rows, names).rich())
    worse = [row for row in rows if row.worse]
    for row in worse:
        out.print(f"Worse: {row.measure} in {row.folder}, {row.column}.", soft_wrap=True)
    if not worse:
        out.print(f"{names[1]} is nowhere worse than {names[0]}.", soft_wrap=True)
    return WORSE if worse else 0


def _scored(args: argparse.Namespace) -> Record:
    from training.evaluation.judge import judge

    material = _material(args.data, args.label_folders)
    print_rejected(results_console(), material.rejected)
    options = ModelOptions(threads=args.threads)
    with open_scorers([args.old, args.new], options) as scorers:
        return judge(scorers, material, SCORED, workers=args.workers)


def _material(folders: Sequence[Path], labels: LabelFolders) -> Material:
    """The pictures of val/, or of the folder itself, with one label or both."""
    entries: list[Entry] = []
    rejected: list[str] = []
    for place, folder in enumerate(folders):
        root = folder / VAL if (folder / VAL).is_dir() else folder
        parts = labelled_parts(root, labels)
        if not parts:
            require_folder(folder)
            refuse_shards(folder)
            yet = ""
            if root.name != VAL and (folder / TRAIN).is_dir():
                yet = f" in {VAL}/, for which 'patchwatch label' keeps every third hour"
            raise SourceError(
                f"{root}: expected labelled pictures ({labels.describe()}){yet}, found none."
            )
        with Ledger(None, folder) as ledger:
            usable = index_pictures(find_pictures(parts), parts, ledger)
        entries += [Entry(picture, place) for picture in usable.pictures]
        rejected += [one.reason for one in usable.rejected]
    return Material(tuple(folders), tuple(entries), tuple(rejected))


def compared(record: Record, seed: int) -> Iterator[Row]:
    """Every measure of every folder under every degradation, of the first model and the second."""
    for place, folder in enumerate(record.data):
        at = np.array([item.data == place for item in record.items])
        for column in record.columns:
            sides = []
            for model in record.models:
                part = record.evaluation(model).where(at)
                reals, fakes = (part.of_label(column, label) for label in (0, 1))
                sides.append(Side(reals, fakes, model.calibration))
            yield from rows_of(folder, column, sides[0], sides[1], seed)


def rows_of(folder: str, column: str, old: Side, new: Side, seed: int) -> Iterator[Row]:
    """The measures that the pictures of a folder allow; both sides are of the same pictures.

    A picture without a logit counts as the mistake that it is.
    """
    rng = np.random.default_rng(seed)
    # The same pictures are drawn for both models.
    drawn = [resampled(len(x), rng, np.full(DRAWS, len(x))) for x in (old.reals, old.fakes)]
    points, draws = [], []
    for one in (old, new):
        sides = np.nan_to_num(one.reals, nan=_BEYOND), np.nan_to_num(one.fakes, nan=-_BEYOND)
        points.append(measure(*sides, one.calibration))
        draws.append(measure(*sides, one.calibration, *drawn))
    for shown, name in _SHOWN.items():
        before, after = (float(values[name][0]) for values in points)
        change = estimate(after - before, draws[1][name] - draws[0][name])
        if change is not None:
            yield Row(folder, column, shown, before, after, change)


def _grid(rows: Sequence[Row], names: Sequence[str]) -> Grid:
    lines = tuple(
        (
            row.folder,
            row.column,
            row.measure,
            f"{row.old:.3f}",
            f"{row.new:.3f}",
            f"{row.change[0]:+.3f} [{row.change[1]:+.3f}, {row.change[2]:+.3f}]",
        )
        for row in rows
    )
    head = ("material", "done to it", "measure", f"old: {names[0]}", f"new: {names[1]}", "change")
    return Grid("old against new", head, lines, 3)
