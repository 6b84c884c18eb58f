"""Train a teacher, or any patch model, with the label of the picture; or a ResNet-18 on faces.

CONFIG is a YAML file as those in configs/training. RUN gets the best model on the validation
pictures as NAME.safetensors with its card, which carries calibration and figures; log.csv with a
line per validation; and last.ckpt, from which --resume goes on. It is saved after every validation,
every save_every_s seconds (300 unless the configuration says otherwise) and at every stop. With
MLflow installed, curves, parameters and files go there too.

A configuration with 'kind: faces' learns from sets that 'patchwatch data prepare' made, and is
judged on both where both are given. RUN then also gets metrics.png and .svg, and faces/ with a
picture for each epoch.

    patchwatch train configs/training/tiny.yaml --data pictures/ --output runs/tiny --licence TEXT
    patchwatch train configs/training/faces.yaml --base SET --augment SET --output R --licence TEXT
    … the same with --resume                          goes on with a run that was stopped
    … the same with --devices 4 --nodes 2             one step over several GPUs and machines
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import Dataset

from edge.config import read_yaml
from edge.errors import UsageError
from edge.labels import STANDARD, add_label_folders
from edge.manifest import Calibration, Training
from edge.schema import code_commit
from edge.terminal import console
from training.calibration import alarm_share, calibrate, figures
from training.checkpoint import (
    PUBLISHED,
    SUFFIX,
    Card,
    card_path,
    load_checkpoint,
    load_published,
    save_checkpoint,
)
from training.config import ModelConfig, TrainConfig, load_config
from training.data.dataset import TrainingData
from training.data.folders import Picture
from training.data.module import PictureData
from training.data.samples import Sample
from training.evaluation import Evaluation, evaluate
from training.experiments import NONE, Experiment
from training.flags import SETS, add_flags, label_settings
from training.methods.labels import LabelTraining
from training.models import PatchModel, build
from training.models.pretrained import load_imagenet
from training.progress import advancing, print_rejected
from training.run_folder import CONFIG, begin, require_usable
from training.settings import Machine
from training.trainer import LOG, fit, is_main_process
from training.validation import limited

IMAGENET = Path("imagenet")
"""As `init`: the published weights of the trunk."""

TIMED_SAMPLES, TIMED_S = 64, 2.0

MakeMethod = Callable[[PatchModel, TrainConfig, Sequence[Picture], Card], LabelTraining]
"""(model with its first weights, configuration, pictures to validate on, card) → what is trained;
a subclass of `LabelTraining` is one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the training")
    add_flags(parser, "--data")
    add_label_folders(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="folder for the results"
    )
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="checkpoint to go on from, a file or a shipped name such as lite0-levels; before init",
    )
    add_flags(parser, "--licence", required=True)
    add_flags(parser, "--resume")
    parser.add_argument(
        "--finish", action="store_true", help="with --resume: only calibrate the best model so far"
    )
    add_flags(parser, "--set", "--experiments", "--device", "--devices", "--nodes", "--workers")
    add_flags(parser, "--threads", "--seed")
    add_flags(parser.add_argument_group("prepared sets, for a configuration of kind faces"), *SETS)


def run(args: argparse.Namespace, make_method: MakeMethod = LabelTraining) -> int:
    """Train, calibrate, report: 0 trained to the end, 128 + signal when stopped before.

    Args:
        args: the flags of `add_arguments`.
        make_method: what is trained, where it is no training on faces.

    Raises:
        UsageError: the flags or the configuration are wrong.
        SourceError: the pictures cannot be had.
        ModelError: the checkpoint, the first weights or the calibration fail.
        SinkError: RUN cannot be used or written to.
    """
    content = read_yaml(args.config)
    if isinstance(content, dict) and content.get("kind") == "faces":
        from training.faces.train import run as train_on_faces

        if args.label_folders != STANDARD:
            raise UsageError(
                f"--label-folders: {args.config} is of kind faces. Give it to 'data prepare clips'."
            )
        machine_of(args)
        return train_on_faces(args)
    config = load_config(TrainConfig, args.config, settings_of(args), args.seed)
    return carry_out(args, config, make_method)


def settings_of(args: argparse.Namespace) -> list[str]:
    """What --set, --init and --label-folders say in place of the file."""
    init = [f"init={json.dumps(args.init)}"] if args.init else []
    return [*args.set, *init, *label_settings(args.label_folders)]


def machine_of(args: argparse.Namespace) -> Machine:
    """Where a training runs; sets torch's threads. A UsageError: the flags do not go together."""
    if args.finish and not args.resume:
        raise UsageError("--finish calibrates what a stopped run has; give --resume as well.")
    if args.threads:
        torch.set_num_threads(args.threads)
    return Machine(args.device, args.workers, args.devices, args.nodes)


def carry_out(
    args: argparse.Namespace,
    config: TrainConfig,
    make_method: MakeMethod,
    clean: bool = False,
    kept: tuple[Dataset[Sample], int] | None = None,
    at_end: Callable[[LabelTraining, Path, Console], None] = lambda method, path, out: None,
) -> int:
    """Train, calibrate, report: what every training of a patch model does, whatever its loss.

    Args:
        args: the flags of `add_arguments`.
        config: of the training.
        make_method: called once.
        clean: batches hold clean crops too.
        kept: samples in place of those of the pictures, and how many of them are a batch.
        at_end: called with the best model and its path once it is calibrated.

    Exit code and errors are those of `run`.
    """
    machine, main = machine_of(args), is_main_process()
    _check_usage(args, config, machine)
    out = console() if main else Console(quiet=True)
    if main:
        require_usable(args.output, config, args.resume)
    torch.manual_seed(config.seed)
    model = first_model(config)
    data = _open_data(args, config, model, clean, kept, out)
    pictures = limited(data.found.val.pictures, config.validation.per_source)
    method = make_method(
        model, config, pictures, make_card(config, data.found, model, args.licence)
    )
    path = args.output / f"{config.name}{SUFFIX}"
    if main and not args.finish:
        begin(args.output, config)
    uri = args.experiments if main and not args.finish else NONE
    experiment = Experiment(uri, args.output, "patchwatch", config)
    try:
        if not args.finish:
            code = _fit(args, method, data, machine, out, experiment)
            if code or not main:
                return code
        try:
            if _finished(method, path, machine, out):
                at_end(method, path, out)
        finally:
            experiment.keep((path, card_path(path), args.output / CONFIG, args.output / LOG))
    finally:
        print_rejected(out, list(method.lost))
    return 0


def _check_usage(args: argparse.Namespace, config: TrainConfig, machine: Machine) -> None:
    for flag in SETS:
        if getattr(args, flag[2:]) is not None:
            raise UsageError(f"{flag} is for a configuration of kind faces. Give --data.")
    parts = 2 * config.accumulate * machine.devices * machine.nodes
    if config.batch % parts:
        raise UsageError(
            f"batch: expected a multiple of {parts} (labels × accumulate × processes), found "
            f"{config.batch}."
        )


def _open_data(
    args: argparse.Namespace,
    config: TrainConfig,
    model: PatchModel,
    clean: bool,
    kept: tuple[Dataset[Sample], int] | None,
    out: Console,
) -> PictureData:
    data = PictureData(
        config.data,
        config.policy,
        config.seed,
        kept[1] if kept else config.batch // config.accumulate,
        folder=args.data,
        workers=args.workers,
        clean=clean,
        smallest=model.grid.smallest_input(),
        out=out,
        kept=kept and kept[0],
    )
    data.setup()
    return data


def _fit(
    args: argparse.Namespace,
    method: LabelTraining,
    data: PictureData,
    machine: Machine,
    out: Console,
    experiment: Experiment,
) -> int:
    prepared, started = 0, time.monotonic()
    for _ in islice(data.drawn(), TIMED_SAMPLES):
        prepared += 1
        if time.monotonic() - started > TIMED_S:
            break
    rate = prepared / (time.monotonic() - started)
    out.print(f"One loading process prepares {rate:.0f} samples a second.")
    fitted = fit(
        method, data, args.output, machine, out, resume=args.resume, loggers=experiment.loggers
    )
    if fitted.code:
        out.print(
            "Go on with the same command and --resume, or take the best model so far with "
            "--resume --finish."
        )
    else:
        out.print(f"Step {fitted.best_step} was the best.")
    return fitted.code


def first_model(config: ModelConfig) -> PatchModel:
    """The model with the weights that the training starts from.

    Raises:
        MissingDependency: the package with the published ImageNet weights is not installed.
        ModelError: the checkpoint cannot be used, or is of another model.
        UsageError: no such weights were published for the architecture.
    """
    if config.init is None or config.init == IMAGENET:
        model = build(config.architecture, config.preprocessing)
        if config.init:
            load_imagenet(model)
        return model
    if config.init.suffix in PUBLISHED:
        return load_published(config.init, config.architecture, config.preprocessing)
    model, _ = load_checkpoint(config.init)
    found = (model.architecture, model.preprocessing)
    if found != (config.architecture, config.preprocessing):
        raise UsageError(
            f"init: expected {config.architecture} with {config.preprocessing}, found "
            f"{found[0]} with {found[1]} in {config.init}. Set both to what it holds."
        )
    return model


def _finished(method: LabelTraining, path: Path, machine: Machine, out: Console) -> bool:
    """Calibrate the best model, which the method then holds; False where there is none yet."""
    if not path.is_file():
        out.print("There was no validation yet: nothing was kept.")
        return False
    config = method.config
    model, _ = load_checkpoint(path)
    method.model.load_state_dict(model.state_dict())
    method.to(machine.torch_device())
    with advancing("final validation", len(method.pictures), out) as advance:
        evaluation = evaluate(
            method.model,
            method.pictures,
            config.validation.reported(),
            config.view().of,
            advance,
            method.lose,
        ).finite()
    _calibrate(path, evaluation, config.validation.calibration, config.view().describe(), out)
    return True


def _calibrate(
    path: Path, evaluation: Evaluation, columns: Sequence[str], view: str, out: Console
) -> None:
    """Calibrate a checkpoint under some of the columns, write what it does on its card, and say it.

    A ModelError says that it cannot be calibrated; the AUCs are printed, and it stays as it is.
    """
    _print_aucs(evaluation, view, out)
    calibration = calibrate(evaluation.restricted_to(columns))
    model, card = load_checkpoint(path)
    measured = figures(evaluation, calibration, view=view)
    update = {"calibration": calibration, "validation": measured}
    save_checkpoint(path, model, card.model_copy(update=update))
    _print_alarms(evaluation, calibration, out)
    out.print(f"Calibrated and kept as {path} and {card_path(path).name}.")


def _print_aucs(evaluation: Evaluation, view: str, out: Console) -> None:
    table = Table("AUC", *evaluation.logits, title=f"Validation pictures, {view}")
    aucs = {name: evaluation.generator_aucs(name) for name in evaluation.logits}
    for name in evaluation.source_names(1):
        table.add_row(name, *(f"{aucs[column][name]:.3f}" for column in aucs))
    means = [f"{evaluation.mean_auc([column]):.3f}" for column in aucs]
    table.add_row("mean", *means, style="bold")
    out.print(table)


def _print_alarms(evaluation: Evaluation, calibration: Calibration, out: Console) -> None:
    table = Table("Above the threshold", *evaluation.logits)
    for label, kind in enumerate(("photographs", "generated")):
        for name in evaluation.source_names(label):
            logits = [evaluation.of_source(column, label, name) for column in evaluation.logits]
            shares = [f"{alarm_share(x, calibration):.1%}" for x in logits]
            table.add_row(f"{name} ({kind})", *shares)
    out.print(table)
    out.print(
        f"Temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}, threshold "
        f"{calibration.threshold:.3f}, all fitted on these pictures."
    )


def make_card(config: ModelConfig, data: TrainingData, model: PatchModel, licence: str) -> Card:
    """The card of a model before it is calibrated."""
    judged = replace(data.val, pictures=limited(data.val.pictures, config.validation.per_source))
    note = (
        f"{data.describe()}, labelled by picture; step, calibration and threshold were chosen on "
        f"{judged.describe()}, {config.view().describe()}, the last two under "
        f"{', '.join(config.validation.calibration)}"
    )
    return Card(
        name=config.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        region=config.region
        or (f"resize:{config.data.resize}" if config.data.resize else "native"),
        face_side=config.face_side,
        training=Training(data=f"{note}. {config.note}".rstrip(), commit=code_commit()),
        licence=licence,
    )
