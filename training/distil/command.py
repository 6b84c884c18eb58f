"""Teach a small model what a large one sees.

The teacher's patch logits are what the student learns from. CONFIG is a YAML file as
configs/training/distill-paper.yaml (patches, as published) or distill-dense.yaml (whole maps), with
all the keys of a training, and `teaching`; the model that it describes is the student. RUN gets
what `patchwatch train` leaves there, and is resumed alike; the card names the teacher with the
SHA-256 of its file, and how much the student agrees with it.

    patchwatch distill configs/training/distill-dense.yaml --teacher runs/first/NAME.safetensors \\
        --data pictures/ --output runs/student --licence TEXT
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.manifest import Figure
from edge.terminal import console
from training.checkpoint import Card, load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.data.samples import CropSamples
from training.distil.config import DistilConfig, load_distil_config
from training.distil.objective import Distillation
from training.distil.teachers import Teacher, load_teachers, require_teachable
from training.loop import progress_bar
from training.models import PatchModel
from training.settings import Machine
from training.train import add_arguments as add_train_arguments
from training.train import carry_out, first_model
from training.training_data import TrainingData
from training.validation import limited

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
        ModelError: teacher, state or first weights cannot be used, or calibration fails.
        SinkError: RUN cannot be used or written to.
    """
    config = _with_teachers(load_distil_config(args.config, args.set, args.seed), args.teacher)
    teachers = load_teachers(config.teaching)
    student = first_model(config)
    for teacher in teachers:
        require_teachable(config, student, teacher)
    lesson = _Lesson(config.pinned(t.sha256 for t in teachers), teachers)
    code = carry_out(args, lesson.config, lesson.objective)
    if code == 0:
        lesson.note_agreement(args.output / f"{config.name}.safetensors", Machine(args.device))
    return code


def _with_teachers(config: DistilConfig, named: list[Path]) -> DistilConfig:
    if not named:
        return config
    teaching = config.teaching.model_copy(update={"teachers": tuple(named)})
    return config.model_copy(update={"teaching": teaching})


class _Lesson:
    """Makes the objective, and remembers it for the last word."""

    def __init__(self, config: DistilConfig, teachers: tuple[Teacher, ...]) -> None:
        self.config, self._teachers = config, teachers
        self._made: Distillation | None = None

    def objective(
        self,
        config: TrainConfig,
        data: TrainingData,
        model: PatchModel,
        samples: CropSamples,
        card: Card,
    ) -> Distillation:
        """The objective of a distillation; the card is told of the teachers."""
        pictures = limited(data.val.pictures, config.validation.per_source)
        models = [teacher.model for teacher in self._teachers]
        taught = self._taught(card)
        self._made = Distillation(model, models, samples, pictures, self.config, taught)
        return self._made

    def note_agreement(self, path: Path, machine: Machine) -> None:
        """Write the correlation of the kept student with its teachers on its card."""
        count = self.config.teaching.agreement
        if self._made is None or not count or not path.exists():
            return
        self._made.prepare(machine.torch_device())
        with progress_bar(console()) as progress:
            value = round(self._made.agreement(progress), 4)
        model, card = load_checkpoint(path)
        data = f"up to {count} validation pictures, {self.config.view().describe()}"
        figure = Figure(data=data, metric=CORRELATION, value=value)
        figures = (*card.validation, figure)
        save_checkpoint(path, model, card.model_copy(update={"validation": figures}))
        console().print(f"Correlation with the teacher's patch logits: {value:.3f} on {data}.")

    def _taught(self, card: Card) -> Card:
        names = " and ".join(teacher.describe() for teacher in self._teachers)
        text = f"{self.config.teaching.way} patch logits of {names} on {card.training.data}"
        return card.model_copy(update={"training": card.training.model_copy(update={"data": text})})
