"""Teach a small model what a large one sees.

The teacher's patch logits are what the student learns from. CONFIG is a YAML file as
configs/training/distill-paper.yaml (patches, as published) or distill-dense.yaml (whole maps), with
all the keys of a training, and `teaching`; the model that it describes is the student. RUN gets
what `patchwatch train` leaves there, and is resumed in the same way; the card names the teacher
with the SHA-256 of its file, and how much the student agrees with it.

    patchwatch distill configs/training/distill-dense.yaml --teacher runs/first/NAME.safetensors \\
        --data pictures/ --output runs/student --licence TEXT
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edge.manifest import Figure
from training.checkpoint import Card, load_checkpoint, save_checkpoint
from training.commands.train import add_arguments as add_train_arguments
from training.commands.train import carry_out, first_model
from training.config import DistillConfig, TrainConfig, load_config
from training.data.folders import Picture
from training.methods.distill import Distillation
from training.methods.distill_dense import DenseDistillation
from training.methods.distill_patches import PatchDistillation
from training.methods.labels import LabelTraining
from training.methods.teachers import load_teachers, require_teachable
from training.models import PatchModel

CORRELATION = "correlation with the teacher's patch logits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_train_arguments(parser)
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="checkpoint to learn from, .safetensors or .pth; before teaching.teachers, and "
        "again for each of several that are averaged",
    )


def run(args: argparse.Namespace) -> int:
    """Distil, calibrate, report.

    Returns:
        The exit code: 0 trained to the end, 128 + signal when stopped before.

    Raises:
        UsageError: the flags or the configuration are wrong, or the teacher does not fit.
        SourceError: the pictures cannot be had.
        ModelError: teacher, checkpoint or first weights cannot be used, or calibration fails.
        SinkError: RUN cannot be used or written to.
    """
    config = load_config(DistillConfig, args.config, args.set, args.seed)
    if args.teacher:
        config = _with_teaching(config, teachers=tuple(args.teacher))
    teachers = load_teachers(config.teaching)
    student = first_model(config)
    for teacher in teachers:
        require_teachable(config, student, teacher)
    # Named by content, so that a run is not resumed with others.
    pinned = _with_teaching(config, sha256=tuple(teacher.sha256 for teacher in teachers))
    kind = PatchDistillation if config.teaching.way == "patches" else DenseDistillation

    def make(
        model: PatchModel, config: TrainConfig, pictures: Sequence[Picture], card: Card
    ) -> LabelTraining:
        names = " and ".join(teacher.describe() for teacher in teachers)
        text = f"{pinned.teaching.way} patch logits of {names} on {card.training.data}"
        training = card.training.model_copy(update={"data": text})
        card = card.model_copy(update={"training": training})
        return kind(model, pinned, pictures, card, [teacher.model for teacher in teachers])

    clean = config.teaching.sees == "clean" and config.policy is not None
    return carry_out(args, pinned, make, clean, _note_agreement)


def _with_teaching(config: DistillConfig, **changes: object) -> DistillConfig:
    teaching = config.teaching.model_copy(update=changes)
    return config.model_copy(update={"teaching": teaching})


def _note_agreement(method: LabelTraining, path: Path, out: Console) -> None:
    """Write the correlation of the kept student with its teachers on its card."""
    assert isinstance(method, Distillation)
    count = method.teaching.agreement
    if not count:
        return
    method.on_fit_start()
    value = round(method.agreement(), 4)
    model, card = load_checkpoint(path)
    data = f"up to {count} validation pictures, {method.view.describe()}"
    figures = (*card.validation, Figure(data=data, metric=CORRELATION, value=value))
    save_checkpoint(path, model, card.model_copy(update={"validation": figures}))
    out.print(f"Correlation with the teacher's patch logits: {value:.3f} on {data}.")
