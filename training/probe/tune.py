"""Train the last blocks of a trunk and its head; the blocks before them stay as they are.

CONFIG is a YAML file as configs/training/tune-lite0.yaml. Every training picture gives the samples
of 'views', each of which passes the trunk once; the map after block 'kept' is stored, in half
precision, in RUN/features or in the folder that --features names (0.2 MB a sample at fit:384), so
that a step of the training costs neither decoding nor the lower blocks. A head is fitted to the
mean features first, as 'patchwatch probe' does; then the tail is trained from there, and the best
step on the validation pictures is kept. With 'soup' above 1 that is done from as many seeds, and
the mean of the weights is taken. Sources that 'late' names, portraits for instance, are learned
from last, by the head alone. NAME.safetensors has a card whose score and threshold are fitted
to the validation pictures. The same command with --resume goes on after a kill.

    patchwatch tune configs/training/tune-lite0.yaml --data pictures/ --output runs/tail \\
        --licence TEXT --workers 2
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from edge.signals import Stopped, stop_signals
from edge.terminal import console
from training.calibration import calibrate, figures
from training.checkpoint import SUFFIX, Card, load_checkpoint
from training.commands.train import make_card
from training.data.dataset import TrainingData
from training.evaluation.record import Evaluation, SourceFacts
from training.methods.tail import MapBatches, TailTraining
from training.models import PatchModel
from training.models.lite import LiteModel
from training.probe.command import FEATURES, Probe, add_arguments, save, started, with_prior
from training.probe.config import TuneConfig
from training.probe.features import FeatureStore, Job
from training.probe.fit import Head, HeadFit, head_of
from training.probe.maps import Kept, MapStore
from training.progress import advancing
from training.run_folder import begin, is_resumable
from training.settings import Machine
from training.trainer import fit

__all__ = ["add_arguments", "run"]


class Tail(Probe):
    """A probe that keeps maps too."""

    config: TuneConfig
    samples: Kept
    validation: Kept

    def __init__(
        self, config: TuneConfig, data: TrainingData, sources: dict[str, SourceFacts]
    ) -> None:
        super().__init__(config, data, sources)
        self.all_factors = self.factors
        late = [name for name in self.factors if name.endswith(config.late)]
        self.factors = self.factors | dict.fromkeys(late, 0.0)
        self.has_late = bool(late)
        if config.late and not late:
            ends = " or ".join(config.late)
            console().print(f"No source of train/ ends with {ends}: there will be no last fit.")

    def open_store(self, folder: Path, model: PatchModel) -> FeatureStore:
        """A store of features and maps."""
        assert isinstance(model, LiteModel)
        return MapStore(folder, model, self.config.kept)

    def keep(self, store: FeatureStore, samples: list[Job], validation: list[Job]) -> None:
        """Take the maps."""
        assert isinstance(store, MapStore)
        self.samples, self.validation = store.take_maps(samples), store.take_maps(validation)

    def fitted_last(self, method: TailTraining) -> Head:
        """The method's head, moved by all samples, those of late sources too."""
        with advancing("last fit", len(self.samples.maps)) as advance:
            features = method.features(self.samples, advance)
        rows = self.rows._replace(features=features)
        fit = HeadFit(rows, self.all_factors, head_of(method.model))
        return fit.head(self.config.late_strength, 0.0)


def run(args: argparse.Namespace) -> int:
    """Keep maps, fit the head, train, average, calibrate; 0, or 128 + signal when stopped."""
    out = console()
    model, probe = started(args, TuneConfig, Tail)
    config, data = probe.config, probe.data
    assert isinstance(model, LiteModel)
    try:
        with stop_signals():
            probe.load(model, args.features or args.output / FEATURES, args.workers)
            best = max(probe.tried(), key=lambda one: one.score)
    except Stopped as stopped:
        out.print("Stopped; the maps so far are kept. Go on with --resume.")
        return stopped.exit_code
    out.print(f"The head alone: {best.score:.3f}")
    best.head.put_into(model)
    card = make_card(config, data, model, args.licence)
    paths = []
    for number in range(config.soup):
        seeded = config.model_copy(update={"seed": config.seed + number})
        code, path = _trained(deepcopy(model), probe, seeded, card, args.output / f"run-{number}")
        if code:
            out.print("Go on with the same command and --resume.")
            return code
        paths.append(path)
    states = [load_checkpoint(path)[0].state_dict() for path in paths]
    share, start = config.start_share, model.state_dict()
    model.load_state_dict(
        {
            name: share * first.double()
            + (1 - share) * torch.stack([one[name].double() for one in states]).mean(0)
            for name, first in start.items()
        }
    )
    method = TailTraining(model, config, probe.val, probe.validation, card)
    try:
        with stop_signals():
            if probe.has_late:
                probe.fitted_last(method).put_into(model)
            evaluation = _judged(method)
    except Stopped as stopped:
        out.print("Go on with the same command and --resume.")
        return stopped.exit_code
    chosen = evaluation.restricted_to(config.validation.calibration)
    calibration = with_prior(calibrate(chosen, config.false_alarms), config.prior)
    view = f"{config.view().describe()}, region {probe.region}"
    path = args.output / f"{config.name}{SUFFIX}"
    save(path, model, card, figures(evaluation, calibration, None, view), calibration)
    return 0


def _trained(
    model: LiteModel, probe: Tail, config: TuneConfig, card: Card, folder: Path
) -> tuple[int, Path]:
    """Exit code, and the best model of one run."""
    resume = is_resumable(folder)
    if not resume:
        begin(folder, config)
    method = TailTraining(model, config, probe.val, probe.validation, card)
    rows = probe.rows
    batches = MapBatches(
        probe.samples, rows.labels, rows.weights(probe.factors), probe.blended, config
    )
    fitted = fit(method, batches, folder, Machine("cpu"), console(), resume=resume)
    return fitted.code, folder / f"{config.name}{SUFFIX}"


def _judged(method: TailTraining) -> Evaluation:
    columns = method.config.validation.reported()
    with advancing("final validation", len(method.pictures)) as advance:
        rows = []
        for place in range(len(method.pictures)):
            rows.append(method.row(place, columns))
            advance()
    logits = dict(zip(columns, np.array(rows).T, strict=True))
    return Evaluation(tuple(method.pictures), logits)
