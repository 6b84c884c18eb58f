"""Fit a linear head on the features of a trunk that stays as it is.

CONFIG is a YAML file as configs/training/probe-lite0.yaml. Every training picture gives the samples
of 'views', each of which passes the trunk once; its mean features are kept in a memory-mapped file
in RUN/features, or in the folder that --features names, by the content of the picture. The same
command goes on after a kill, and another head on the same trunk and pictures takes seconds. Labels
and sources of a label count alike in the fit. Every combination of strengths and whitenings is
tried; the best by the mean AUC on the validation pictures is kept as NAME.safetensors with its
card, and all are in RUN/tried.json. Score and threshold come from heads that were fitted without
the sources that they judge (folds). It runs on the CPU.

    patchwatch probe configs/training/probe-lite0.yaml --data pictures/ --output runs/first \\
        --licence TEXT
    patchwatch probe configs/training/probe-lite0.yaml --data pictures/ --output runs/second \\
        --licence TEXT --features runs/first/features --set 'strengths=[4]' 'whitenings=[300]'
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from rich.table import Table

from edge.errors import ModelError
from edge.files import sha256_of, write_whole
from edge.labels import add_label_folders
from edge.manifest import Calibration, Figure
from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.calibration import CrossFit, calibrate, figures
from training.checkpoint import SUFFIX, Card, save_checkpoint
from training.commands.train import first_model, make_card
from training.config import load_config
from training.data.dataset import TrainingData, open_training_data
from training.data.folders import Picture
from training.evaluation.metrics import called
from training.evaluation.record import Evaluation, SourceFacts, facts_of, read_sources
from training.faces.blend import BLENDED
from training.flags import add_flags, label_settings
from training.models import PatchModel
from training.probe.config import ProbeConfig
from training.probe.features import FeatureStore, Job, Reported, Sample, samples_of
from training.probe.fit import Head, HeadFit, Rows
from training.progress import advancing, print_table
from training.run_folder import begin, require_usable
from training.validation import limited

Config = TypeVar("Config", bound=ProbeConfig)
AProbe = TypeVar("AProbe", bound="Probe")

TRIED = "tried.json"
FEATURES = "features"
SAMPLES = "training samples"
"""Stands for a degradation where logits are of degraded training samples."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="YAML file of the probe")
    add_flags(parser, "--data")
    add_label_folders(parser)
    add("--output", type=Path, required=True, metavar="RUN", help="folder for the results")
    add("--features", type=Path, metavar="DIR", help="where features are kept (RUN/features)")
    groups = "list of sources with their groups, for weights and false_alarms_of"
    add_flags(parser, "--sources", help=groups)
    add_flags(parser, "--licence", required=True)
    add_flags(parser, "--resume", help="go on with RUN")
    add_flags(parser, "--set", "--workers", "--threads", "--seed")


def run(args: argparse.Namespace) -> int:
    """Compute features, fit, choose, calibrate; 0, or 128 + signal when stopped before.

    Raises:
        ModelError: also where the best head cannot be calibrated; it is kept as it is.
    """
    out = console()
    model, probe = started(args, ProbeConfig, Probe)
    config, data = probe.config, probe.data
    try:
        with stop_signals():
            probe.load(model, args.features or args.output / FEATURES, args.workers)
            tried = probe.tried()
            best = max(tried, key=lambda one: one.score)
            best.head.put_into(model)
            card = make_card(config, data, model, args.licence)
            path = args.output / f"{config.name}{SUFFIX}"
            try:
                calibration, crossed = probe.calibrated(best)
            except ModelError:
                save_checkpoint(path, model, card)
                raise
            calibration = with_prior(calibration, config.prior)
    except Stopped as stopped:
        out.print("Stopped; the features so far are kept. Go on with --resume.")
        return stopped.exit_code
    _print_tried(tried, best, config.validation.columns)
    rows = [one.row() for one in tried]
    write_whole(args.output / TRIED, json.dumps(rows, indent=2) + "\n")
    view = f"{config.view().describe()}, region {probe.region}"
    save(path, model, card, figures(best.evaluation, calibration, crossed, view), calibration)
    return 0


def started(
    args: argparse.Namespace, kind: type[Config], probe: Callable[..., AProbe]
) -> tuple[PatchModel, AProbe]:
    """Begin or resume a run: its model, in evaluation mode, and the probe of its configuration.

    Raises:
        PatchwatchError: the configuration, the folder, the model or the pictures cannot be used.
    """
    settings = [*args.set, *label_settings(args.label_folders)]
    config = load_config(kind, args.config, settings, args.seed)
    sources = read_sources(args.sources) if args.sources else {}
    require_usable(args.output, config, args.resume)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(config.seed)
    model = first_model(config).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    least = model.grid.smallest_input()
    found = probe(config, open_training_data(config.data, args.data, least, console()), sources)
    if not args.resume:
        begin(args.output, config)
    return model, found


def save(
    path: Path,
    model: PatchModel,
    card: Card,
    measured: Sequence[Figure],
    calibration: Calibration,
) -> None:
    """Write a model with its calibration and figures, and say them.

    The head is divided by the temperature, which then is 1, so that bounds on logits mean the same
    for every model and strength.
    """
    scale = calibration.temperature
    with torch.no_grad():
        model.fc.weight.div_(scale)
        model.fc.bias.div_(scale)
    calibration = calibration.model_copy(
        update={"temperature": 1.0, "bias": calibration.bias / scale}
    )
    update = {"calibration": calibration, "validation": tuple(measured)}
    save_checkpoint(path, model, card.model_copy(update=update))
    out = console()
    for figure in measured:
        out.print(f"{figure.metric}, {figure.degradation}: {figure.value:.3f}", markup=False)
    out.print(f"{path}: threshold {calibration.threshold:.3f}", markup=False, soft_wrap=True)


def with_prior(calibration: Calibration, prior: float) -> Calibration:
    """The same threshold on the logit, and scores for another share of generated pictures.

    `calibration` is for as many generated as real ones. By Bayes' rule the log odds of a score
    rise by log(prior / (1 − prior)).
    """
    shift = math.log(prior / (1 - prior))
    odds = math.log(calibration.threshold / (1 - calibration.threshold)) + shift
    bias = calibration.bias - shift * calibration.temperature
    update = {"bias": bias, "threshold": 1 / (1 + math.exp(-odds))}
    return calibration.model_copy(update=update)


class Tried(NamedTuple):
    """A head, and its worth.

    Attributes:
        penalty: strength and whitening that it was fitted with; see `HeadFit.head`.
        head: what was fitted.
        evaluation: on the validation pictures.
        score: mean AUC over the columns that choose.
    """

    penalty: tuple[float, float]
    head: Head
    evaluation: Evaluation
    score: float

    def row(self) -> dict[str, object]:
        """Of `TRIED`."""
        strength, whitening = self.penalty
        aucs = {c: self.evaluation.generator_aucs(c) for c in self.evaluation.logits}
        return {"strength": strength, "whitening": whitening, "score": self.score, "auc": aucs}


class Probe:
    """Features of all samples, and the heads fitted to them."""

    def __init__(
        self, config: ProbeConfig, data: TrainingData, sources: dict[str, SourceFacts]
    ) -> None:
        self.config, self.region = config, config.region or "native"
        self.train = limited(data.train.pictures, config.per_source) if data.train else ()
        self.val = limited(data.val.pictures, config.validation.per_source)
        self.data = replace(data, train=data.train and replace(data.train, pictures=self.train))
        names = {picture.source for picture in self.train}
        groups = {name: facts.group for name, facts in facts_of(sources, names).items()}
        known, by_group = config.weights, config.false_alarms_of
        counts = Counter(picture.source for picture in self.train)
        self.factors = {
            n: known.get(n, known.get(groups.get(n, ""), 1.0)) * count ** (1 - config.balance)
            for n, count in counts.items()
        }
        self.factors |= {BLENDED + name: factor for name, factor in self.factors.items()}
        self._shares = {n: by_group[g] for n, g in groups.items() if g in by_group}
        unknown = {*known, *by_group} - names - {*groups.values()}
        if unknown:
            console().print(f"No source or group in train: {', '.join(sorted(unknown))}.")

    def load(self, model: PatchModel, folder: Path, workers: int) -> None:
        """Compute the features that are missing, and take all of them into memory."""
        config, view = self.config, self.config.view()
        paths = [picture.path for picture in (*self.train, *self.val)]
        with console().status("reading the pictures"), ThreadPoolExecutor() as pool:
            digests = dict(zip(paths, pool.map(sha256_of, paths), strict=True))
        jobs = [
            Job(p.path, digests[p.path], samples_of(config, digests[p.path], p.label))
            for p in self.train
        ]
        columns = config.validation.reported()
        looks = tuple(Reported(c, self.region, view.resize, view.crop) for c in columns)
        val = [Job(picture.path, digests[picture.path], looks) for picture in self.val]
        with self.open_store(folder, model) as store:
            for name, some in (("training samples", jobs), ("validation pictures", val)):
                with advancing(name, sum(len(job.looks) for job in some)) as advance:
                    store.compute(some, workers, advance)
            features = store.take(jobs)
            found = store.take(val).reshape(len(val), len(columns), -1)
            self.keep(store, jobs, val)
        self._val_features = {name: found[:, i] for i, name in enumerate(columns)}
        looked = [
            (look, picture.label, picture.source)
            for job, picture in zip(jobs, self.train, strict=True)
            for look in job.looks
            if isinstance(look, Sample)
        ]
        self.blended = np.array([look.blended for look, *_ in looked], dtype=bool)
        self._whole = [
            look.view.region == self.region and not look.view.crop and not look.view.blended
            for look, *_ in looked
        ]
        self.rows = Rows(
            features,
            np.array([label or int(look.blended) for look, label, _ in looked], dtype=np.int64),
            np.array([BLENDED * look.blended + name for look, _, name in looked], dtype=str),
        )
        self._fit = HeadFit(self.rows, self.factors)

    def open_store(self, folder: Path, model: PatchModel) -> FeatureStore:
        """Where features come from."""
        return FeatureStore(folder, model)

    def keep(self, store: FeatureStore, samples: list[Job], validation: list[Job]) -> None:
        """Take more than features from the store, while it is open."""

    def tried(self) -> list[Tried]:
        """Every head of the grid, judged on the validation pictures."""
        config = self.config
        grid = list(product(config.strengths, config.whitenings))
        tried = []
        with advancing("fitting", len(grid)) as advance:
            for penalty in grid:
                head = self._fit.head(*penalty)
                logits = {name: head.logits(x) for name, x in self._val_features.items()}
                evaluation = Evaluation(tuple(self.val), logits)
                score = evaluation.mean_auc(config.validation.columns)
                tried.append(Tried(penalty, head, evaluation, score))
                advance()
        return tried

    def calibrated(self, best: Tried) -> tuple[Calibration, CrossFit | None]:
        """Score and threshold, and what they do to the samples of sources that were left out."""
        config, rows = self.config, self.rows
        if not config.folds:
            chosen = best.evaluation.restricted_to(config.validation.calibration)
            return calibrate(chosen, config.false_alarms), None
        with console().status("fitting without each part of the sources"):
            logits = self._fit.cross_fitted(*best.penalty, config.folds, config.seed)
        # Of the samples those that show what the device looks at; all, where none does.
        shown = np.array(self._whole) if any(self._whole) else np.full(len(logits), True)
        pictures = (
            Picture(Path(), int(label), str(source))
            for label, source in zip(rows.labels[shown], rows.sources[shown], strict=True)
        )
        left = Evaluation(tuple(pictures), {SAMPLES: logits[shown]})
        calibration = calibrate(left, config.false_alarms, by_source=True, shares=self._shares)
        flags = [
            {n: called(x, calibration) for n, x in left.by_source(SAMPLES, label).items()}
            for label in (0, 1)
        ]
        return calibration, CrossFit(*({SAMPLES: f} for f in flags))


def _print_tried(tried: Sequence[Tried], best: Tried, columns: Sequence[str]) -> None:
    table = Table("strength", "whitening", *best.evaluation.logits, "score")
    for one in tried:
        means = [f"{one.evaluation.mean_auc(c):.3f}" for c in one.evaluation.logits]
        style = "bold" if one is best else ""
        table.add_row(*(f"{n:g}" for n in one.penalty), *means, f"{one.score:.3f}", style=style)
    table.title = "Mean AUC per generator; the score is their mean over " + ", ".join(columns)
    print_table(console(), table)
