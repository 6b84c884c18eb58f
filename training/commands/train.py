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
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console

from edge.config import read_yaml
from edge.errors import UsageError
from edge.manifest import Training
from edge.schema import code_commit
from edge.terminal import console, positive
from training.checkpoint import SUFFIX, Card, card_path, load_checkpoint, load_published
from training.config import ModelConfig, TrainConfig, load_config
from training.data.dataset import TrainingData
from training.data.folders import Picture
from training.data.module import PictureData
from training.evaluation import evaluate
from training.experiments import HELP, NONE, Experiment
from training.finish import finish
from training.methods.labels import LabelTraining
from training.models import PatchModel, build
from training.models.pretrained import load_imagenet
from training.progress import progress_bar
from training.run_folder import CONFIG, begin, require_usable
from training.settings import DEVICES, Machine
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
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="folder with train/ and val/; before data.path"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="folder for the results"
    )
    parser.add_argument(
        "--licence", required=True, metavar="TEXT", help="of the weights, for the card"
    )
    parser.add_argument("--resume", action="store_true", help="go on from RUN's last checkpoint")
    parser.add_argument(
        "--finish", action="store_true", help="with --resume: only calibrate the best model so far"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="overrides the file, the value as YAML: --set steps=500 data.crop=64",
    )
    parser.add_argument("--experiments", metavar="URI", help=HELP)
    group = parser.add_argument_group("prepared sets, for a configuration of kind faces")
    group.add_argument("--base", type=Path, metavar="SET", help="of FaceForensics++")
    group.add_argument("--augment", type=Path, metavar="SET", help="of the YouTube videos")
    group.add_argument("--both", type=Path, metavar="SET", help="of the two together")
    add_machine_arguments(parser)


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say where a training runs."""
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto (default): a GPU if there is one"
    )
    parser.add_argument(
        "--devices",
        type=positive,
        default=1,
        metavar="N",
        help="processes that share each step, each on its own GPU (default: 1)",
    )
    parser.add_argument(
        "--nodes", type=positive, default=1, metavar="N", help="machines that do (default: 1)"
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


def run(args: argparse.Namespace, make_method: MakeMethod = LabelTraining) -> int:
    """Train, calibrate, report.

    Args:
        args: the flags of `add_arguments`.
        make_method: what is trained, where it is no training on faces.

    Returns:
        The exit code: 0 trained to the end, 128 + signal when stopped before.

    Raises:
        UsageError: the flags or the configuration are wrong.
        SourceError: the pictures cannot be had.
        ModelError: the checkpoint, the first weights or the calibration fail.
        SinkError: RUN cannot be used or written to.
    """
    content = read_yaml(args.config)
    if isinstance(content, dict) and content.get("kind") == "faces":
        from training.faces.train import run as train_on_faces

        machine_of(args)
        return train_on_faces(args)
    config = load_config(TrainConfig, args.config, args.set, args.seed)
    return carry_out(args, config, make_method)


def machine_of(args: argparse.Namespace) -> Machine:
    """Where a training runs; sets torch's threads.

    Raises:
        UsageError: a flag is wrong.
    """
    if args.workers < 0:
        raise UsageError(f"--workers: expected 0 or more, found {args.workers}.")
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
    at_end: Callable[[LabelTraining, Path, Console], None] = lambda method, path, out: None,
) -> int:
    """Train, calibrate, report: what every training of a patch model does, whatever its loss.

    Args:
        args: the flags of `add_arguments`.
        config: of the training.
        make_method: called once.
        clean: batches hold clean crops too.
        at_end: called with the best model and its path once it is calibrated.

    Returns:
        The exit code, and errors, as of `run`.
    """
    machine = machine_of(args)
    for flag in ("base", "augment", "both"):
        if getattr(args, flag) is not None:
            raise UsageError(f"--{flag} is for a configuration of kind faces. Give --data.")
    parts = 2 * config.accumulate * machine.devices * machine.nodes
    if config.batch % parts:
        raise UsageError(
            f"batch: expected a multiple of {parts} (labels × accumulate × processes), found "
            f"{config.batch}."
        )
    out = console() if is_main_process() else Console(quiet=True)
    if is_main_process():
        require_usable(args.output, config, args.resume)
    torch.manual_seed(config.seed)
    model = first_model(config)
    data = PictureData(
        config.data,
        config.policy,
        config.seed,
        config.batch // config.accumulate,
        folder=args.data,
        workers=args.workers,
        clean=clean,
        smallest=model.grid.smallest_input(),
        out=out,
    )
    data.setup()
    pictures = limited(data.val.pictures, config.validation.per_source)
    card = make_card(config, data.found, model, args.licence)
    method = make_method(model, config, pictures, card)
    path = args.output / f"{config.name}{SUFFIX}"
    main = is_main_process()
    if main and not args.resume:
        begin(args.output, config)
    experiment = Experiment(
        args.experiments if main and not args.finish else NONE, args.output, "patchwatch", config
    )
    if not args.finish:
        out.print(f"One loading process prepares {_samples_per_second(data):.0f} samples a second.")
        fitted = fit(
            method, data, args.output, machine, out, resume=args.resume, loggers=experiment.loggers
        )
        if fitted.code:
            out.print(
                "Go on with the same command and --resume, or take the best model so far with "
                "--resume --finish."
            )
        if fitted.code or not main:
            return fitted.code if main else 0
        out.print(f"Step {fitted.best_step} was the best.")
    try:
        if _finished(method, path, machine, out):
            at_end(method, path, out)
    finally:
        experiment.keep((path, card_path(path), args.output / CONFIG, args.output / LOG))
    return 0


def first_model(config: ModelConfig) -> PatchModel:
    """The model with the weights that the training starts from.

    Raises:
        MissingDependency: the package with the published ImageNet weights is not installed.
        ModelError: the checkpoint cannot be used, or is of another model.
        UsageError: no such weights were published for the architecture.
    """
    if config.init is None:
        return build(config.architecture, config.preprocessing)
    if config.init == IMAGENET:
        model = build(config.architecture, config.preprocessing)
        load_imagenet(model)
        return model
    if config.init.suffix != SUFFIX:
        return load_published(config.init, config.architecture, config.preprocessing)
    model, _ = load_checkpoint(config.init)
    found = (model.architecture, model.preprocessing)
    if found != (config.architecture, config.preprocessing):
        raise UsageError(
            f"init: expected {config.architecture} with {config.preprocessing}, found "
            f"{found[0]} with {found[1]} in {config.init}. Set both to what it holds."
        )
    return model


def _samples_per_second(data: PictureData) -> float:
    samples, started = data.samples(), time.monotonic()
    for index in range(TIMED_SAMPLES):
        samples[index]
        passed = time.monotonic() - started
        if passed > TIMED_S:
            break
    return (index + 1) / passed


def _finished(method: LabelTraining, path: Path, machine: Machine, out: Console) -> bool:
    """Calibrate the best model, which the method then holds; False where there is none yet."""
    if not path.is_file():
        out.print("There was no validation yet: nothing was kept.")
        return False
    config = method.config
    model, _ = load_checkpoint(path)
    method.model.load_state_dict(model.state_dict())
    method.to(machine.torch_device())
    with progress_bar(out) as progress:
        task = progress.add_task("final validation", total=len(method.pictures), note="")
        evaluation = evaluate(
            method.model,
            method.pictures,
            config.validation.reported(),
            config.view().of,
            lambda: progress.advance(task),
        )
    finish(path, evaluation, config.validation.calibration, config.view().describe(), out)
    return True


def make_card(config: ModelConfig, data: TrainingData, model: PatchModel, licence: str) -> Card:
    """The card of a model before it is calibrated."""
    note = (
        f"{data.describe()}, labelled by picture; step, calibration and threshold were chosen on "
        f"{data.val.describe()}, {config.view().describe()}, the last two under "
        f"{', '.join(config.validation.calibration)}"
    )
    return Card(
        name=config.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        region=config.region
        or (f"resize:{config.data.resize}" if config.data.resize else "native"),
        training=Training(data=f"{note}. {config.note}".rstrip(), commit=code_commit()),
        licence=licence,
    )
