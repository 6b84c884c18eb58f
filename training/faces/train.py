"""Train a ResNet-18 on faces, epoch by epoch.

`patchwatch train` comes here for a configuration of kind faces; a search calls `train_faces`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.errors import ModelError, UsageError
from edge.files import written_whole
from edge.manifest import Calibration, Figure, Training
from edge.schema import code_commit
from edge.terminal import console
from training.calibration import alarm_share, calibrate
from training.checkpoint import Card, card_path, load_resnet18, save_checkpoint
from training.config import load_config
from training.data.folders import Picture
from training.evaluation import Evaluation
from training.faces.config import FacesConfig
from training.faces.faces_board import AUC, BALANCED, LOSS, FacesBoard
from training.faces.grid import as_png, draw_grid
from training.faces.model import first_model, read_face
from training.faces.objective import Chosen, FaceSamples, FaceTraining, SetFigures, choose
from training.loop import Trainer, Validated, progress_bar
from training.models.resnet18 import ResNet18
from training.run_folder import begin, require_usable
from training.settings import Machine

if TYPE_CHECKING:
    from training.faces.sets import FaceItem, FaceSet

GRIDS = "faces"
"""Folder of the run with a picture for each epoch."""

ON_CARD = {AUC: "auc", BALANCED: "balanced accuracy at logit 0"}
FALSE_ALARMS, FOUND = "real faces above the threshold", "fake faces above it"
_COLUMN = "untouched"


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to.

    Attributes:
        epoch: counted from 1.
        epochs: of the whole training.
        loss: mean of the steps of the epoch.
        score: mean AUC over the validation sets; higher is better.
        figures: validation set → `auc`, `balanced_accuracy` and `loss`.
        best: whether no epoch before had such a score.
        checkpoint: the best model so far, which is whole on the disk.
        pictures: plots of the run so far, and the faces of this epoch.
    """

    epoch: int
    epochs: int
    loss: float
    score: float
    figures: SetFigures
    best: bool
    checkpoint: Path
    pictures: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class TrainedFaces:
    """What a training gave.

    Attributes:
        checkpoint: the best model, with its card; absent where `epoch` is 0.
        epoch: that it is of, counted from 1; 0 before the first was at its end.
        score: its mean AUC over the validation sets.
        figures: its figures, as of `EpochReport`; empty where the training was stopped.
        pictures: plots of the run, and the faces of that epoch.
        code: 0, or 128 + signal where it was stopped; its state is saved.
        failure: why it could not be calibrated, in a sentence; None where it was.
    """

    checkpoint: Path
    epoch: int
    score: float
    figures: SetFigures = field(default_factory=dict)
    pictures: tuple[Path, ...] = ()
    code: int = 0
    failure: str | None = None


def train_faces(
    config: FacesConfig,
    sets: Mapping[str, FaceSet],
    run: Path,
    *,
    licence: str = "not stated",
    out: Console | None = None,
    machine: Machine | None = None,
    resume: bool = False,
    fit: bool = True,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> TrainedFaces:
    """Train, choose the best epoch, calibrate it and write its card.

    Args:
        config: of the training.
        sets: any of `base`, `augment` and `both`, prepared.
        run: folder for the results; new or empty, unless a run is resumed.
        licence: of the weights, for the card.
        out: where people read; the usual console if None.
        machine: device and loading processes.
        resume: go on from the folder's saved state.
        fit: else only calibrate the best model so far, of a run that is resumed.
        on_epoch: told of each epoch; what it raises ends the training and passes on.

    Raises:
        FetchError: the first weights cannot be had.
        ModelError: the first weights or the saved state cannot be used, or the loss is no finite
            number any more.
        SinkError: the folder cannot be used or written to.
        SourceError: faces are missing or cannot be read.
        UsageError: sets, device or precision do not fit the configuration.
    """
    out, machine = out or console(), machine or Machine()
    require_usable(run, config, resume)
    chosen = choose(config, sets)
    torch.manual_seed(config.seed)
    model = ResNet18(config.dropout, config.hidden) if resume else _first_model(config, out)
    if not resume:
        begin(run, config)
    training = _Training(config, chosen, run, licence, model, out, machine)
    return training.carried_out(resume, fit, on_epoch)


class _Training:
    def __init__(
        self,
        config: FacesConfig,
        chosen: Chosen,
        run: Path,
        licence: str,
        model: ResNet18,
        out: Console,
        machine: Machine,
    ) -> None:
        self._config, self._chosen, self._run = config, chosen, run
        self._out, self._machine = out, machine
        self._steps = config.steps_per_epoch(len(chosen.train))
        self._grid = spread(chosen.val, config.grid)
        samples = FaceSamples(chosen.train, config, machine.workers)
        card = make_card(config, chosen, model, licence)
        self._objective = FaceTraining(
            model, samples, chosen.val, config.size, card, machine.workers
        )
        self._board: FacesBoard | None = None
        self._on_epoch: Callable[[EpochReport], None] = lambda report: None

    def carried_out(
        self, resume: bool, fit: bool, on_epoch: Callable[[EpochReport], None]
    ) -> TrainedFaces:
        self._on_epoch = on_epoch
        settings = self._config.loop(len(self._chosen.train))
        self._tell(settings.steps)
        trainer = Trainer(
            self._objective, settings, self._run, self._out, self._machine, resume, self._validated
        )
        code = self._fit(trainer) if fit else 0
        best = trainer.best
        if code or not best.step:
            return TrainedFaces(trainer.best_path, self._epoch(best.step), best.score, code=code)
        return self._finished(trainer.best_path, self._epoch(best.step), best.score)

    def _tell(self, steps: int) -> None:
        val = ", ".join(f"{name} {len(faces)}" for name, faces in self._chosen.val.items())
        self._out.print(
            f"{len(self._chosen.train)} faces to learn from, to validate on: {val}. {steps} steps."
        )

    def _fit(self, trainer: Trainer) -> int:
        self._board = FacesBoard(self._run, trainer.step)
        try:
            return trainer.fit()
        finally:
            self._board.close()

    def _validated(self, validated: Validated) -> None:
        """An epoch's end: pictures are drawn, and who wants to know is told."""
        assert self._board is not None  # it is open while there is training
        epoch = self._epoch(validated.step)
        pictures = self._board.draw(self._steps)
        if self._grid:
            pictures.append(self._draw_grid(epoch, validated.step))
        report = EpochReport(
            epoch,
            self._config.epochs,
            validated.loss,
            validated.score,
            validated.figures["sets"],  # type: ignore[arg-type]  # as the objective put them there
            validated.best,
            self._run / f"{self._config.name}.safetensors",
            tuple(pictures),
        )
        self._on_epoch(report)

    def _draw_grid(self, epoch: int, step: int) -> Path:
        assert self._board is not None
        shown = [self._chosen.val[name][place] for name, place in self._grid]
        faces = [read_face(face.path, self._config.size) for face in shown]
        logits = np.array([self._objective.logits[name][place] for name, place in self._grid])
        page = draw_grid(faces, logits, [face.label for face in shown])
        png = as_png(page)
        with written_whole(self._grid_path(epoch), png):
            pass
        self._board.show(png, page.shape[:2], step)
        return self._grid_path(epoch)

    def _grid_path(self, epoch: int) -> Path:
        return self._run / GRIDS / f"epoch-{epoch:03d}.png"

    def _epoch(self, step: int) -> int:
        return step // self._steps

    def _finished(self, path: Path, epoch: int, score: float) -> TrainedFaces:
        self._out.print(f"Epoch {epoch} was the best.")
        model, card = load_resnet18(path)
        self._objective.model.load_state_dict(model.state_dict())
        with progress_bar(self._out) as progress:
            figures = self._objective.evaluate(progress)
        self._out.print(_table(figures))
        failure = self._calibrate(path, model, card, figures)
        pictures = [self._run / name for name in ("metrics.png", "metrics.svg")]
        kept = tuple(p for p in (*pictures, self._grid_path(epoch)) if p.is_file())
        return TrainedFaces(path, epoch, score, figures, kept, 0, failure)

    def _calibrate(
        self, path: Path, model: ResNet18, card: Card, figures: SetFigures
    ) -> str | None:
        evaluations = {name: self._evaluation(name) for name in self._chosen.val}
        try:
            calibration = calibrate(_together(list(evaluations.values())))
        except ModelError as error:
            return str(error)
        known = _card_figures(figures, evaluations, calibration)
        save_checkpoint(
            path,
            model,
            card.model_copy(update={"calibration": calibration, "validation": known}),
        )
        self._out.print(f"Calibrated and kept as {path} and {card_path(path).name}.")
        return None

    def _evaluation(self, name: str) -> Evaluation:
        faces = self._chosen.val[name]
        pictures = tuple(Picture(f.path, f.label, f.manipulation or f.source) for f in faces)
        return Evaluation(pictures, {_COLUMN: self._objective.logits[name]})


def spread(val: Mapping[str, Sequence[FaceItem]], count: int) -> list[tuple[str, int]]:
    """Which faces are shown each epoch: evenly of every set and label, always the same.

    Args:
        val: validation set → faces.
        count: how many at most.

    Returns:
        Names of sets with the place of a face in them.
    """
    groups = [
        [(name, i) for i, face in enumerate(faces) if face.label == label]
        for name, faces in val.items()
        for label in (0, 1)
    ]
    shown: list[tuple[str, int]] = []
    for number, group in enumerate(groups):
        share = (count * (number + 1)) // len(groups) - (count * number) // len(groups)
        places = np.linspace(0, len(group) - 1, min(share, len(group)))
        shown += [group[round(float(place))] for place in places]
    return shown


def make_card(config: FacesConfig, chosen: Chosen, model: ResNet18, licence: str) -> Card:
    """The card of a model before it is calibrated."""
    val = "; ".join(f"{name}: {_describe(faces)}" for name, faces in chosen.val.items())
    note = (
        f"{_describe(chosen.train)} ({config.train_set}); epoch, calibration and threshold were "
        f"chosen on {val}"
    )
    return Card(
        name=config.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        region=f"faces:{config.size}",
        training=Training(data=f"{note}. {config.note}".rstrip(), commit=code_commit()),
        licence=licence,
    )


def _describe(faces: Sequence[FaceItem]) -> str:
    """How many faces of how many videos of which origin, real and fake."""
    kinds = []
    for label, word in enumerate(("real", "fake")):
        those = [face for face in faces if face.label == label]
        names = Counter(face.manipulation or face.source for face in those)
        videos = len({face.video for face in those})
        kinds.append(f"{len(those)} {word} faces of {videos} videos ({', '.join(sorted(names))})")
    return " and ".join(kinds)


def _first_model(config: FacesConfig, out: Console) -> ResNet18:
    with progress_bar(out) as progress:
        task = progress.add_task("first weights", total=None, note="", visible=False)
        return first_model(
            config,
            on_bytes=lambda done, total: progress.update(
                task, completed=done, total=total, visible=True
            ),
            on_note=out.print,
        )


def _together(evaluations: Sequence[Evaluation]) -> Evaluation:
    pictures = tuple(picture for one in evaluations for picture in one.pictures)
    return Evaluation(
        pictures, {_COLUMN: np.concatenate([one.logits[_COLUMN] for one in evaluations])}
    )


def _card_figures(
    figures: SetFigures, evaluations: Mapping[str, Evaluation], calibration: Calibration
) -> tuple[Figure, ...]:
    return tuple(
        Figure(data=f"validation faces of {name}", metric=metric, value=round(value, 4))
        for name, one in evaluations.items()
        for metric, value in (
            *((ON_CARD[key], figures[name][key]) for key in ON_CARD),
            (FALSE_ALARMS, alarm_share(one.of_label(_COLUMN, 0), calibration)),
            (FOUND, alarm_share(one.of_label(_COLUMN, 1), calibration)),
        )
    )


def _table(figures: SetFigures) -> Table:
    table = Table("Validation faces", "AUC", "balanced accuracy at logit 0", "cross-entropy")
    for name, values in figures.items():
        table.add_row(name, *(f"{values[key]:.3f}" for key in (AUC, BALANCED, LOSS)))
    return table


def run(args: argparse.Namespace) -> int:
    """`patchwatch train` with a configuration of kind faces; flags, exit code and errors as there.

    Raises:
        ModelError: also where the best epoch cannot be calibrated; it is kept as it is.
    """
    from training.faces.sets import load_set

    config = load_config(FacesConfig, args.config, args.set, args.seed)
    given = {name: getattr(args, name) for name in ("base", "augment", "both")}
    paths = {name: path for name, path in given.items() if path is not None}
    if args.data is not None or not paths:
        raise UsageError(
            f"{args.config} is of kind faces: give prepared sets with --base, --augment or --both"
            f"{', in place of --data' if args.data is not None else ''}."
        )
    out = console()
    trained = train_faces(
        config,
        {name: load_set(path) for name, path in paths.items()},
        args.output,
        licence=args.licence,
        out=out,
        machine=Machine(args.device, args.workers),
        resume=args.resume,
        fit=not args.finish,
    )
    return _told(trained, out)


def _told(trained: TrainedFaces, out: Console) -> int:
    if trained.code:
        out.print(
            "Go on with the same command and --resume, or take the best epoch so far with "
            "--resume --finish."
        )
    elif not trained.epoch:
        out.print("No epoch was at its end yet: nothing was kept.")
    if trained.failure:
        raise ModelError(trained.failure)
    return trained.code
