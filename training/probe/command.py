"""Fit a linear head on the features of a trunk that stays as it is.

CONFIG is a YAML file as configs/training/probe-lite0.yaml. Every training picture gives the samples
of 'views', each of which passes the trunk once; its mean features are kept in a memory-mapped file
in RUN/features, or in the folder that --features names, by the content of the picture. The same
command goes on after a kill, and another head on the same trunk and pictures takes seconds. Labels
and sources of a label count alike in the fit. Every combination of pair_shares, strengths and
whitenings is tried; the best by the mean AUC on the validation pictures is kept as NAME.safetensors
with its card, and all are in RUN/tried.json. Score and threshold come from heads that were fitted
without the sources that they judge (folds). It runs on the CPU.

    patchwatch probe configs/training/probe-lite0.yaml --data pictures/ --output runs/first \\
        --licence TEXT --set 'data.pairs=[pairs]'
    patchwatch probe configs/training/probe-lite0.yaml --data pictures/ --output runs/second \\
        --licence TEXT --features runs/first/features --set 'strengths=[4]' 'whitenings=[300]'
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.files import sha256_of, write_whole
from edge.manifest import Calibration
from edge.signals import Stopped, stop_signals
from edge.terminal import console, positive
from training.calibration import CrossFit, calibrate, figures
from training.checkpoint import SUFFIX, save_checkpoint
from training.config import load_config
from training.data.folders import Picture
from training.evaluation.metrics import called
from training.evaluation.record import Evaluation
from training.evaluation.sources import SourceFacts, facts_of, read_sources
from training.loop import progress_bar
from training.models import PatchModel
from training.probe.config import ProbeConfig
from training.probe.features import FeatureStore, Job, Look, Reported, Sample
from training.probe.fit import Head, HeadFit, Rows
from training.program import run_program
from training.run_folder import begin, require_usable
from training.train import first_model, make_card
from training.training_data import TrainingData, find_data
from training.validation import limited

TRIED = "tried.json"
FEATURES = "features"
SAMPLES = "training samples"
"""Stands for a degradation where logits are of degraded training samples."""


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
        "--features", type=Path, metavar="DIR", help="where features are kept (RUN/features)"
    )
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="F.json",
        help="list of sources with their groups, for weights and false_alarms_of",
    )
    parser.add_argument(
        "--licence", required=True, metavar="TEXT", help="of the weights, for the card"
    )
    parser.add_argument("--resume", action="store_true", help="go on with RUN")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="over the file, the value as YAML: --set per_source=20 'strengths=[1]'",
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
        ModelError: the first weights or the calibration fail.
        SinkError: RUN cannot be used or written to.
    """
    out = console()
    config = load_config(ProbeConfig, args.config, args.set, args.seed)
    sources = read_sources(args.sources) if args.sources else {}
    require_usable(args.output, config, args.resume)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(config.seed)
    model = first_model(config).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = find_data(config, args.data, model.grid.smallest_input(), out)
    if not args.resume:
        begin(args.output, config)
    probe = Probe(config, data, model, sources, out)
    try:
        with stop_signals():
            probe.load(args.features or args.output / FEATURES, args.workers)
            tried = probe.tried()
            best = max(tried, key=lambda one: one.score)
            calibration, crossed = probe.calibrated(best)
    except Stopped as stopped:
        out.print("Stopped; the features so far are kept. Go on with --resume.")
        return stopped.exit_code
    _print_tried(tried, best, config.validation.columns, out)
    rows = [{**t.penalty._asdict(), "score": t.score, "auc": t.aucs()} for t in tried]
    write_whole(args.output / TRIED, json.dumps(rows, indent=2) + "\n")
    best.head.put_into(model)
    path = args.output / f"{config.name}{SUFFIX}"
    measured = figures(best.evaluation, calibration, crossed, probe.view())
    card = make_card(config, data, model, args.licence)
    update = {"calibration": calibration, "validation": measured}
    save_checkpoint(path, model, card.model_copy(update=update))
    for figure in measured:
        out.print(f"{figure.metric}, {figure.degradation}: {figure.value:.3f}", markup=False)
    out.print(f"{path}: threshold {calibration.threshold:.3f}", markup=False, soft_wrap=True)
    return 0


class Penalty(NamedTuple):
    """What a head was fitted with; see `HeadFit.head`."""

    share: float
    strength: float
    whitening: float


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """One head and its worth.

    Attributes:
        penalty: that it was fitted with.
        head: what was fitted.
        evaluation: on the validation pictures.
        score: mean AUC over the columns that choose.
    """

    penalty: Penalty
    head: Head
    evaluation: Evaluation
    score: float

    def aucs(self) -> dict[str, dict[str, float]]:
        """AUC per degradation and generator."""
        return {c: self.evaluation.generator_aucs(c) for c in self.evaluation.logits}


class Probe:
    """Features of all samples, and the heads fitted to them.

    Args:
        config: of the probe.
        data: what is learned from, and what it is judged on.
        model: with the trunk's weights, in evaluation mode.
        sources: what is known of them.
        out: where people read.
    """

    def __init__(
        self,
        config: ProbeConfig,
        data: TrainingData,
        model: PatchModel,
        sources: dict[str, SourceFacts],
        out: Console,
    ) -> None:
        self._config, self._model, self._out = config, model, out
        self._train = limited(data.train.pictures, config.per_source) if data.train else ()
        self._val = limited(data.val.pictures, config.validation.per_source)
        self._pairs = data.pairs
        self._region = config.region or "native"
        names = {picture.source for picture in self._train}
        self._groups = {n: f.group for n, f in facts_of(sources, names).items()}

    def view(self) -> str:
        """What the model saw of each validation picture, for people."""
        return f"{self._config.view().describe()}, region {self._region}"

    def load(self, folder: Path, workers: int) -> None:
        """Compute the features that are missing, and take all of them into memory."""
        paths = [p.path for p in self._train]
        sides = [side for pair in self._pairs for side in (pair.real, pair.fake)]
        digests = self._digests([*paths, *sides, *(p.path for p in self._val)])
        # Both sides of a pair draw from the photograph's content.
        seeds = {p: digests[p] for p in paths} | {
            side: digests[pair.real] for pair in self._pairs for side in (pair.real, pair.fake)
        }
        jobs = [Job(p, digests[p], tuple(self._samples(seeds[p]))) for p in [*paths, *sides]]
        columns = self._config.validation.reported()
        looks = tuple(self._reported(column) for column in columns)
        val = [Job(p.path, digests[p.path], looks) for p in self._val]
        with FeatureStore(folder, self._model) as store:
            for name, some in (("training samples", jobs), ("validation pictures", val)):
                with progress_bar(self._out) as progress:
                    task = progress.add_task(name, total=sum(len(j.looks) for j in some), note="")
                    store.compute(some, workers, partial(progress.advance, task))
            self._rows = self._labelled(store.take(jobs))
            found = store.take(val).reshape(len(val), len(columns), -1)
        self._val_features = {name: found[:, i] for i, name in enumerate(columns)}

    def tried(self) -> list[Tried]:
        """Every head of the grid, judged on the validation pictures."""
        config = self._config
        self._fit = HeadFit(self._rows, self._factors())
        shares = config.pair_shares if self._pairs and self._train else (0.0,)
        grid = list(product(shares, config.strengths, config.whitenings))
        tried = []
        with progress_bar(self._out) as progress:
            task = progress.add_task("fitting", total=len(grid), note="")
            for penalty in map(Penalty._make, grid):
                head = self._fit.head(*penalty)
                logits = {name: head.logits(x) for name, x in self._val_features.items()}
                evaluation = Evaluation(tuple(self._val), logits)
                score = evaluation.mean_auc(config.validation.columns)
                tried.append(Tried(penalty, head, evaluation, score))
                progress.advance(task)
        return tried

    def calibrated(self, best: Tried) -> tuple[Calibration, CrossFit | None]:
        """Score and threshold, and what they do to the samples of sources that were left out."""
        config = self._config
        if not config.folds or not self._train:
            chosen = best.evaluation.restricted_to(config.validation.calibration)
            return calibrate(chosen, config.false_alarms), None
        with self._out.status("fitting without each part of the sources"):
            logits = self._fit.cross_fitted(*best.penalty, config.folds, config.seed)
        rows = self._shipped_view() & np.isfinite(logits)
        pictures = (
            Picture(Path(), int(label), str(source))
            for label, source in zip(self._rows.labels[rows], self._rows.sources[rows], strict=True)
        )
        left = Evaluation(tuple(pictures), {SAMPLES: logits[rows]})
        known, by_group = self._groups.items(), config.false_alarms_of
        shares = {name: by_group[group] for name, group in known if group in by_group}
        calibration = calibrate(left, config.false_alarms, by_source=True, shares=shares)
        flags = [
            {
                n: called(left.of_source(SAMPLES, label, n), calibration)
                for n in left.source_names(label)
            }
            for label in (0, 1)
        ]
        return calibration, CrossFit(*({SAMPLES: f} for f in flags))

    def _digests(self, paths: Sequence[Path]) -> dict[Path, str]:
        with self._out.status("reading the pictures"), ThreadPoolExecutor() as pool:
            return dict(zip(paths, pool.map(sha256_of, paths), strict=True))

    def _samples(self, seed: str) -> Iterator[Look]:
        config = self._config
        for view in config.views:
            for number in range(view.count):
                yield Sample(
                    view=view,
                    policy=config.policy,
                    first_compression=config.data.first_compression,
                    flip=config.data.flip,
                    seed=(config.seed, number, int(seed[:16], 16)),
                )

    def _reported(self, column: str) -> Look:
        view = self._config.view()
        return Reported(column, self._region, view.resize, view.crop)

    def _labelled(self, features: np.ndarray) -> Rows:
        each = sum(view.count for view in self._config.views)
        labels = [p.label for p in self._train] + [0, 1] * len(self._pairs)
        names = [p.source for p in self._train] + [""] * (2 * len(self._pairs))
        return Rows(features, np.repeat(labels, each), np.repeat(np.array(names, str), each))

    def _shipped_view(self) -> np.ndarray:
        """Flags of the samples that show what the device looks at; all, where none does."""
        views = self._config.views
        shipped = [
            v.region == self._region and v.crop is None for v in views for _ in range(v.count)
        ]
        shipped = shipped if any(shipped) else [True] * len(shipped)
        return np.tile(shipped, len(self._rows.labels) // len(shipped))

    def _factors(self) -> dict[str, float]:
        weights = self._config.weights
        names = {picture.source for picture in self._train}
        unknown = weights.keys() - names - set(self._groups.values())
        if unknown:
            self._out.print(f"weights: no source or group {', '.join(sorted(unknown))} in train.")
        return {n: weights.get(n, weights.get(self._groups.get(n, ""), 1.0)) for n in names}


def _print_tried(tried: Sequence[Tried], best: Tried, columns: Sequence[str], out: Console) -> None:
    table = Table("pairs", "strength", "whitening", *best.evaluation.logits, "score")
    for one in tried:
        means = [f"{one.evaluation.mean_auc([c]):.3f}" for c in one.evaluation.logits]
        style = "bold" if one is best else ""
        table.add_row(*(f"{n:g}" for n in one.penalty), *means, f"{one.score:.3f}", style=style)
    table.title = "Mean AUC per generator; the score is their mean over " + ", ".join(columns)
    out.print(table)


if __name__ == "__main__":
    sys.exit(run_program("training.probe.command", __doc__, add_arguments, run))
