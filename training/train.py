"""Train a teacher, or any patch model, with the label of the picture; or a ResNet-18 on faces.

CONFIG is a YAML file as those in configs/training. RUN gets the best model on the validation
pictures as NAME.safetensors with its card, which carries calibration and figures; log.jsonl with a
line per validation; tensorboard/; and state.safetensors, from which --resume goes on. The state is
saved every save_every_s seconds (300 unless the configuration says otherwise) and at every stop.
On one CPU with the same --threads, a run that was killed and resumed gives the same weights, bit
for bit, as one that never was.

A configuration with 'kind: faces' learns from sets that 'patchwatch data prepare' made, and is
judged on both where both are given. RUN then also gets metrics.png and .svg, and faces/ with a
picture for each epoch.

    patchwatch train configs/training/tiny.yaml --data pictures/ --output runs/tiny --licence TEXT
    patchwatch train configs/training/faces.yaml --base SET --augment SET --output R --licence TEXT
    … the same with --resume                          goes on with a run that was stopped
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch.utils.data import Dataset

from edge.config import read_yaml
from edge.errors import UsageError
from edge.manifest import Training
from edge.schema import code_commit
from edge.terminal import console, positive
from training.checkpoint import SUFFIX, Card, load_checkpoint, load_published
from training.config import ModelConfig, TrainConfig, load_train_config
from training.data.crops import Sample
from training.data.samples import CropSamples
from training.finish import finish
from training.labelled import LabelledTraining
from training.loop import Trainer, progress_bar
from training.models import PatchModel, build
from training.models.pretrained import load_imagenet
from training.program import run_program
from training.run_folder import begin, require_usable
from training.settings import DEVICES, Machine
from training.training_data import TrainingData, find_data
from training.validation import limited

IMAGENET = Path("imagenet")
"""As `init`: the published weights of the trunk."""

TIMED_SAMPLES, TIMED_S = 64, 2.0

MakeObjective = Callable[
    [TrainConfig, TrainingData, PatchModel, CropSamples, Card], LabelledTraining
]


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
    parser.add_argument("--resume", action="store_true", help="go on from RUN's saved state")
    parser.add_argument(
        "--finish", action="store_true", help="with --resume: only calibrate the best model so far"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="over the file, the value as YAML: --set steps=500 data.crop=64",
    )
    _add_face_arguments(parser)
    _add_machine_arguments(parser)


def _add_face_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prepared sets, for a configuration of kind faces")
    group.add_argument("--base", type=Path, metavar="SET", help="of FaceForensics++")
    group.add_argument("--augment", type=Path, metavar="SET", help="of the YouTube videos")
    group.add_argument("--both", type=Path, metavar="SET", help="of the two together")


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto (default): a GPU if there is one"
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
    """Train, calibrate, report.

    Returns:
        The exit code: 0 trained to the end, 128 + signal when stopped before.

    Raises:
        UsageError: the flags or the configuration are wrong.
        SourceError: the pictures cannot be had.
        ModelError: the state, the first weights or the calibration fail.
        SinkError: RUN cannot be used or written to.
    """
    if _kind(args.config) == "faces":
        from training.faces.train import run as train_on_faces

        _require_flags(args)
        if args.threads:
            torch.set_num_threads(args.threads)
        return train_on_faces(args)
    return carry_out(args, load_train_config(args.config, args.set, args.seed), _objective)


def _kind(path: Path) -> object:
    """What a configuration says it is of; None where it does not, as those of patch models."""
    content = read_yaml(path)
    return content.get("kind") if isinstance(content, dict) else None


def carry_out(args: argparse.Namespace, config: TrainConfig, make_objective: MakeObjective) -> int:
    """Train, calibrate, report: what every training of a patch model does, whatever its loss.

    Args:
        args: the flags of `add_arguments`.
        config: of the training.
        make_objective: called once, with the model that has its first weights.

    Returns:
        The exit code, and errors, as of `run`.
    """
    out = console()
    _require_flags(args)
    _require_no_faces(args)
    require_usable(args.output, config, args.resume)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(config.seed)
    model = first_model(config)
    data = find_data(config, args.data, model.grid.smallest_input(), out)
    samples = make_samples(config, data, args.workers)
    if not args.resume:
        begin(args.output, config)
    card = make_card(config, data, model, args.licence)
    objective = make_objective(config, data, model, samples, card)
    machine = Machine(args.device, args.workers)
    trainer = Trainer(objective, config, args.output, out, machine, args.resume)
    code = 0 if args.finish else _fit(trainer, samples, out)
    return code or _finished(config, objective, trainer, out)


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


def _require_flags(args: argparse.Namespace) -> None:
    if args.workers < 0:
        raise UsageError(f"--workers: expected 0 or more, found {args.workers}.")
    if args.finish and not args.resume:
        raise UsageError("--finish calibrates what a stopped run has; give --resume as well.")


def _require_no_faces(args: argparse.Namespace) -> None:
    for flag in ("base", "augment", "both"):
        if getattr(args, flag) is not None:
            raise UsageError(f"--{flag} is for a configuration of kind faces. Give --data.")


def _fit(trainer: Trainer, samples: Dataset[Sample], out: Console) -> int:
    out.print(f"One loading process prepares {_samples_per_second(samples):.0f} samples a second.")
    code = trainer.fit()
    if code:
        out.print(
            "Go on with the same command and --resume, or take the best model so far with "
            "--resume --finish."
        )
    return code


def _samples_per_second(samples: Dataset[Sample]) -> float:
    started = time.monotonic()
    for index in range(TIMED_SAMPLES):
        samples[index]
        passed = time.monotonic() - started
        if passed > TIMED_S:
            break
    return (index + 1) / passed


def _finished(
    config: TrainConfig, objective: LabelledTraining, trainer: Trainer, out: Console
) -> int:
    if not trainer.best.step:
        out.print("There was no validation yet: nothing was kept.")
        return 0
    out.print(f"Step {trainer.best.step} was the best.")
    model, _ = load_checkpoint(trainer.best_path)
    objective.model.load_state_dict(model.state_dict())
    with progress_bar(out) as progress:
        evaluation = objective.evaluate(config.validation.reported(), "final validation", progress)
    view = config.view().describe()
    finish(trainer.best_path, evaluation, config.validation.calibration, view, out)
    return 0


def make_samples(config: ModelConfig, data: TrainingData, workers: int) -> CropSamples:
    pictures = data.train.pictures if data.train else ()
    return CropSamples(pictures, data.pairs, config.samples(workers))


def _objective(
    config: TrainConfig,
    data: TrainingData,
    model: PatchModel,
    samples: CropSamples,
    card: Card,
) -> LabelledTraining:
    chosen = config.validation
    pictures = limited(data.val.pictures, chosen.per_source)
    return LabelledTraining(model, samples, pictures, chosen.columns, config.view(), card)


def make_card(config: ModelConfig, data: TrainingData, model: PatchModel, licence: str) -> Card:
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


if __name__ == "__main__":
    sys.exit(run_program("training.train", __doc__, add_arguments, run))
