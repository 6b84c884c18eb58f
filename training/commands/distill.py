"""Teach a small model what a large one sees.

The teacher's patch logits are what the student learns from. CONFIG is a YAML file as
configs/training/distill-paper.yaml (patches, as published; --patches takes those that 'patchwatch
patches' kept) or distill-dense.yaml (whole maps), with all the keys of a training, and `teaching`;
the model that it describes is the student. RUN gets what `patchwatch train` leaves there, and is
resumed in the same way; the card names the teacher with the SHA-256 of its file, and how much the
student agrees with it.

    patchwatch distill configs/training/distill-dense.yaml --teacher runs/first/NAME.safetensors \\
        --data pictures/ --output runs/student --licence TEXT
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edge.errors import UsageError
from edge.manifest import Figure
from training.checkpoint import Card, load_checkpoint, save_checkpoint
from training.commands.train import add_arguments as add_train_arguments
from training.commands.train import carry_out, first_model, settings_of
from training.config import DistillConfig, TrainConfig, load_config
from training.data.folders import Picture
from training.methods.distill import Distillation, load_teachers
from training.methods.labels import LabelTraining
from training.models import PatchModel
from training.patch_set import KeptPatches, read_patches

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
        help="checkpoint to learn from, a file or a shipped name; before teaching.teachers, and "
        "again for each of several that are averaged",
    )
    parser.add_argument(
        "--patches",
        type=Path,
        metavar="FILE",
        help="of 'patchwatch patches', to learn from; with teaching.way: patches",
    )


def run(args: argparse.Namespace) -> int:
    """Distil, calibrate, report: 0 trained to the end, 128 + signal when stopped before.

    Raises:
        UsageError: the flags or the configuration are wrong, or the teacher does not fit.
        SourceError: the pictures cannot be had.
        ModelError: teacher, checkpoint or first weights cannot be used, or calibration fails.
        SinkError: RUN cannot be used or written to.
    """
    config = load_config(DistillConfig, args.config, settings_of(args), args.seed)
    if args.patches:
        config = _with_teaching(config, kept=args.patches)
    if args.teacher:
        config = _with_teaching(config, teachers=tuple(args.teacher))
    teachers = load_teachers(config, first_model(config))
    # Named by content, so that a run is not resumed with others.
    pinned = _with_teaching(config, sha256=tuple(teacher.sha256 for teacher in teachers))

    def make(
        model: PatchModel, config: TrainConfig, pictures: Sequence[Picture], card: Card
    ) -> LabelTraining:
        names = " and ".join(teacher.describe() for teacher in teachers)
        labels = "without labels, " if pinned.teaching.weight == 1 else ""
        way = f"way {pinned.teaching.way}, {labels}on {card.training.data}"
        text = f"patch logits of {names}, {way}"
        training = card.training.model_copy(update={"data": text})
        card = card.model_copy(update={"training": training})
        return Distillation(model, pinned, pictures, card, [one.model for one in teachers])

    clean = config.teaching.sees == "clean" and config.policy is not None
    return carry_out(args, pinned, make, clean, _kept(pinned), _note_agreement)


def _kept(config: DistillConfig) -> tuple[KeptPatches, int] | None:
    """The kept patches and how many a step takes, where the configuration names a file of them."""
    teaching = config.teaching
    if teaching.kept is None or teaching.patches is None:
        return None
    found = read_patches(teaching.kept)
    if found.facts.get("teacher_sha256") != ",".join(teaching.sha256):
        raise UsageError(
            f"{teaching.kept} was judged by {found.facts.get('teacher')}, and --teacher is another "
            f"({', '.join(teaching.sha256)}). Name its teacher, or make the file again."
        )
    return KeptPatches(found, config.seed), teaching.patches


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
    figures = [*card.validation, Figure(data=data, metric=CORRELATION, value=value)]
    for name, (rank, low, high) in method.ranks().items():
        said = f"{data}, 95 % interval {low:.2f} to {high:.2f}"
        metric = f"rank correlation with the teacher's {name} logits"
        figures.append(Figure(data=said, metric=metric, value=round(rank, 4)))
        out.print(f"Rank correlation of {name} logits: {rank:.3f} [{low:.2f}, {high:.2f}].")
    save_checkpoint(path, model, card.model_copy(update={"validation": tuple(figures)}))
    out.print(f"Correlation with the teacher's patch logits: {value:.3f} on {data}.")
