"""Fit a linear head on the features of a trunk that stays as it is.

CONFIG is a YAML file as configs/training/probe-lite0.yaml. Each sample passes the trunk once; its
mean features are kept in RUN/features, so that --resume after a kill loses fewer than 256 of them.
Every combination of pair_shares, strengths and whitenings is tried; the best by the mean AUC on the
validation pictures is kept as NAME.safetensors with its card, and all stand in RUN/tried.json.
It runs on the CPU.

    patchwatch probe configs/training/probe-lite0.yaml --data pictures/ --output runs/first \\
        --licence TEXT --set 'data.pairs=[pairs]'
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.files import written_whole
from edge.signals import Stopped, stop_signals
from edge.sources.images import read_image
from edge.terminal import console, positive
from training.checkpoint import SUFFIX, save_checkpoint
from training.config import load_config
from training.data.folders import Picture
from training.data.samples import CropSamples
from training.degrade import COLUMNS
from training.evaluation import Evaluation
from training.finish import auc_table, finish
from training.loop import progress_bar
from training.models import PatchModel
from training.probe.config import ProbeConfig
from training.probe.features import Features, SampleFeatures, mean_features
from training.probe.fit import Head, HeadFit, Samples
from training.program import run_program
from training.run_folder import begin, require_usable
from training.train import first_model, make_card
from training.training_data import TrainingData, find_data
from training.validation import limited

TRIED = "tried.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the probe")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="folder with train/ and val/; before data.path"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="folder for the results"
    )
    parser.add_argument(
        "--licence", required=True, metavar="TEXT", help="of the weights, for the card"
    )
    parser.add_argument("--resume", action="store_true", help="go on with RUN's features")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="over the file, the value as YAML: --set labelled_samples=2000 'strengths=[1]'",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that prepare samples; 0 for none (default: 1)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of torch (default: all cores)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="in place of the file's")


def run(args: argparse.Namespace) -> int:
    """Compute features, fit, choose, calibrate.

    Returns:
        The exit code: 0 done, 128 + signal when stopped before.

    Raises:
        UsageError: the flags or the configuration are wrong.
        SourceError: the pictures cannot be had.
        ModelError: the first weights, a block of features or the calibration fail.
        SinkError: RUN cannot be used or written to.
    """
    out = console()
    config = load_config(ProbeConfig, args.config, args.set, args.seed)
    require_usable(args.output, config, args.resume)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(config.seed)
    model = first_model(config)
    data = find_data(config, args.data, model.grid.smallest_input(), out)
    if not args.resume:
        begin(args.output, config)
    probe = Probe(config, data, _placed(model), args.output, args.workers, out)
    try:
        with stop_signals():
            tried, evaluations = probe.tried()
    except Stopped as stopped:
        out.print("Stopped; the features so far are kept. Go on with --resume.")
        return stopped.exit_code
    best = max(tried, key=lambda one: one.score)
    _print_tried(tried, best, config.validation.columns, out)
    _write_tried(args.output / TRIED, tried)
    path = args.output / f"{config.name}{SUFFIX}"
    best.head.put_into(model)
    save_checkpoint(path, model, make_card(config, data, model, args.licence))
    evaluation = evaluations[tried.index(best)]
    finish(path, evaluation, config.validation.calibration, config.view().describe(), out)
    return 0


class Penalty(NamedTuple):
    """What a head was fitted with; see `HeadFit.head`."""

    share: float
    strength: float
    whitening: float


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """One head and what it is worth.

    Attributes:
        penalty: that it was fitted with.
        head: what was fitted.
        score: mean AUC over the columns that choose.
        aucs: per degradation and generator.
    """

    penalty: Penalty
    head: Head
    score: float
    aucs: dict[str, dict[str, float]]


class Probe:
    """Features of all samples, and the heads fitted to them.

    Args:
        config: of the probe.
        data: what is learned from, and what it is judged on.
        model: with the trunk's weights, in evaluation mode.
        folder: of the run.
        workers: processes that prepare samples.
        out: where people read.
    """

    def __init__(
        self,
        config: ProbeConfig,
        data: TrainingData,
        model: PatchModel,
        folder: Path,
        workers: int,
        out: Console,
    ) -> None:
        self._config, self._data, self._model = config, data, model
        self._folder, self._workers, self._out = folder / "features", workers, out

    def tried(self) -> tuple[list[Tried], list[Evaluation]]:
        """Every head of the grid, judged on the validation pictures, and its evaluation."""
        labelled, pairs = self._samples(pairs=False), self._samples(pairs=True)
        pictures = limited(self._data.val.pictures, self._config.validation.per_source)
        features = self._validation_features(pictures)
        tried, evaluations = [], []
        grid = list(self._grid(pairs is not None))
        fit = HeadFit(labelled, pairs)
        with progress_bar(self._out) as progress:
            task = progress.add_task("fitting", total=len(grid), note="")
            for penalty in grid:
                head = fit.head(penalty.share, penalty.strength, penalty.whitening)
                logits = {name: head.logits(x) for name, x in features.items()}
                evaluation = Evaluation(pictures, logits)
                score = evaluation.mean_auc(self._config.validation.columns)
                tried.append(Tried(penalty, head, score, auc_table(evaluation)))
                evaluations.append(evaluation)
                progress.advance(task)
        return tried, evaluations

    def _grid(self, with_pairs: bool) -> Iterator[Penalty]:
        config = self._config
        shares = config.pair_shares if with_pairs else (0.0,)
        for numbers in product(shares, config.strengths, config.whitenings):
            yield Penalty(*numbers)

    def _samples(self, *, pairs: bool) -> Samples | None:
        train = self._data.train
        pictures = train.pictures if train and not pairs else ()
        chosen = self._data.pairs if pairs else ()
        count = self._config.pair_samples if pairs else self._config.labelled_samples
        if not count or not (pictures or chosen):
            return None
        settings = replace(
            self._config.samples(self._workers), pairs_share=float(pairs), mirror=False
        )
        samples = CropSamples(pictures, chosen, settings)
        name = "pairs" if pairs else "labelled"
        store = SampleFeatures(self._model, samples, count, self._folder / name, self._workers)
        with progress_bar(self._out) as progress:
            task = progress.add_task(f"features of {name} samples", total=count, note="")
            features, labels = store.compute(lambda done: progress.update(task, completed=done))
        return Samples(features, labels)

    def _validation_features(self, pictures: Sequence[Picture]) -> dict[str, Features]:
        columns, view = self._config.validation.reported(), self._config.view()
        rows: dict[str, list[Features]] = {name: [] for name in columns}
        with progress_bar(self._out) as progress:
            task = progress.add_task("validation pictures", total=len(pictures), note="")
            for picture in pictures:
                image = view.of(read_image(picture.path))
                for name in columns:
                    rows[name].append(mean_features(self._model, COLUMNS[name](image)[None]))
                progress.advance(task)
        return {name: np.concatenate(row) for name, row in rows.items()}


def _placed(model: PatchModel) -> PatchModel:
    model.eval()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch types no such form


def _print_tried(tried: Sequence[Tried], best: Tried, columns: Sequence[str], out: Console) -> None:
    table = Table("pairs", "strength", "whitening", *best.aucs, "score")
    for one in tried:
        means = [f"{np.mean(list(aucs.values())):.3f}" for aucs in one.aucs.values()]
        style = "bold" if one is best else ""
        penalty = [f"{number:g}" for number in one.penalty]
        table.add_row(*penalty, *means, f"{one.score:.3f}", style=style)
    table.title = "Mean AUC per generator; the score is their mean over " + ", ".join(columns)
    out.print(table)


def _write_tried(path: Path, tried: Sequence[Tried]) -> None:
    rows = [{**one.penalty._asdict(), "score": one.score, "auc": one.aucs} for one in tried]
    with written_whole(path, (json.dumps(rows, indent=2) + "\n").encode()):
        pass


if __name__ == "__main__":
    sys.exit(run_program("training.probe.command", __doc__, add_arguments, run))
