"""Train a ResNet-18 on faces, epoch by epoch.

`patchwatch train` comes here for a configuration of kind faces; a search calls `train_faces`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from edge.errors import ModelError, UsageError
from edge.faces import FACE_SIDE
from edge.manifest import Calibration, Figure, Training
from edge.schema import code_commit
from edge.terminal import console
from edge.words import counted
from training.calibration import alarm_share, calibrate
from training.checkpoint import SUFFIX, Card, card_path, load_resnet18, save_checkpoint
from training.config import load_config
from training.data.folders import Picture
from training.evaluation import Evaluation
from training.experiments import NONE, Experiment
from training.faces.config import FacesConfig
from training.faces.data import FaceData, read_face
from training.faces.model import first_model, score_faces
from training.faces.pictures import PLOTS, draw_grid, draw_metrics
from training.files import save_picture, writing
from training.methods.faces import AUC, BALANCED, LOSS, FaceTraining, SetFigures, measured
from training.models.resnet18 import ResNet18
from training.progress import print_rejected, progress_bar
from training.run_folder import CONFIG, begin, require_usable
from training.settings import Machine
from training.trainer import LOG, Fitted, Rows, fit, is_main_process

if TYPE_CHECKING:
    from training.faces.sets import FaceItem, FaceSet

GRIDS = "faces"
"""Folder of the run with a picture for each epoch."""

ON_CARD = {AUC: "auc", BALANCED: "balanced accuracy at logit 0"}
FALSE_ALARMS, FOUND = "real faces above the threshold", "fake faces above it"
_COLUMN = "untouched"


@dataclass(frozen=True, slots=True)
class TrainedFaces:
    """What a training gave: the best model's file, absent where there was no validation yet; its
    mean AUC over the validation sets and the figures of each; 0, or 128 + signal where it was
    stopped and can go on; and why it could not be calibrated, in a sentence.
    """

    checkpoint: Path
    score: float = 0.0
    figures: SetFigures = field(default_factory=dict)
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
    fit_first: bool = True,
    experiments: str | None = NONE,
    study: str = "patchwatch",
    on_epoch: Callable[[int, float], None] = lambda epoch, score: None,
) -> TrainedFaces:
    """Train, choose the best epoch, calibrate it and write its card.

    Args:
        config: of the training.
        sets: any of `base`, `augment` and `both`, prepared.
        run: folder for the results; new or empty, unless `resume` goes on with its checkpoint.
        licence: of the weights, for the card.
        out: where people read; the usual console if None.
        machine: device and processes.
        resume: go on from the folder's last checkpoint.
        fit_first: else only calibrate the best model so far, of a run that is resumed.
        experiments: with `study` as of `training.experiments.Experiment`.
        on_epoch: called after each epoch with its number, from 1 on, and its score; what it raises
            ends the training and passes on.

    Raises:
        FetchError, ModelError: the first weights or the checkpoint cannot be had or used, or the
            loss is no finite number any more.
        SinkError, SourceError: the folder cannot be written to, or faces cannot be read.
        UsageError: sets, device or precision do not fit the configuration.
    """
    main, machine = is_main_process(), machine or Machine()
    out = (out or console()) if main else Console(quiet=True)
    if main:
        require_usable(run, config, resume)
    data = FaceData(config, sets, machine.workers)
    torch.manual_seed(config.seed)
    model = ResNet18(config.dropout, config.hidden) if resume else _first_model(config, out)
    if main and fit_first:
        begin(run, config)
    card = make_card(config, data, model, licence)
    method = FaceTraining(model, config.loop(len(data.train)), data.val, card)
    path = run / f"{config.name}{SUFFIX}"
    if fit_first:
        experiment = Experiment(experiments if main else NONE, run, study, config)
        end_epoch = partial(_end_epoch, config, data, method, run, on_epoch)
        fitted = _fit(method, data, run, machine, out, resume, experiment, end_epoch)
        if fitted.code or not main:
            return TrainedFaces(path, fitted.best_score, code=fitted.code)
    if not path.is_file():
        return TrainedFaces(path)
    trained = _finished(config, data, path, machine, out)
    if fit_first:
        names = [CONFIG, LOG, *PLOTS]
        grids = sorted((run / GRIDS).glob("*.png"))[-1:]
        experiment.keep([path, card_path(path), *(run / name for name in names), *grids])
    return trained


def _fit(
    method: FaceTraining,
    data: FaceData,
    run: Path,
    machine: Machine,
    out: Console,
    resume: bool,
    experiment: Experiment,
    end_epoch: Callable[[Rows], None],
) -> Fitted:
    """Fit, and say on how many faces, which of them were lost, and which epoch was the best."""
    val = ", ".join(f"{name} {len(faces)}" for name, faces in data.val.items())
    out.print(f"{counted(len(data.train), 'face')} to learn from, to validate on: {val}. "
              f"{method.settings.steps} steps.")  # fmt: skip
    fitted = fit(
        method, data, run, machine, out,
        resume=resume, loggers=experiment.loggers, on_validation=end_epoch,
    )  # fmt: skip
    print_rejected(out, list(method.lost))
    if not fitted.code:
        out.print(f"Epoch {fitted.best_step // data.steps_per_epoch} was the best.")
    return fitted


def _end_epoch(
    config: FacesConfig,
    data: FaceData,
    method: FaceTraining,
    run: Path,
    on_epoch: Callable[[int, float], None],
    rows: Rows,
) -> None:
    epoch = int(rows[-1]["step"]) // data.steps_per_epoch
    if is_main_process():
        draw_metrics(run, rows, data.steps_per_epoch)
        if shown := spread(data.val, config.grid):
            items = [data.val[name][place] for name, place in shown]
            logits = np.array([method.logits[name][place] for name, place in shown])
            faces = [read_face(face.path, config.size) for face in items]
            with writing(run / GRIDS):
                (run / GRIDS).mkdir(exist_ok=True)
            page = draw_grid(faces, logits, [face.label for face in items])
            save_picture(run / GRIDS / f"epoch-{epoch:03d}.png", page)
    on_epoch(epoch, rows[-1]["score"])


def _finished(
    config: FacesConfig, data: FaceData, path: Path, machine: Machine, out: Console
) -> TrainedFaces:
    """Judge the best model once more, and calibrate it."""
    model, card = load_resnet18(path)
    model.to(machine.torch_device())
    logits, figures = {}, {}
    with progress_bar(out) as progress:
        for name, faces in data.val.items():
            task = progress.add_task(f"validation on {name}", total=len(faces), note="")
            advance = partial(progress.advance, task)
            logits[name] = score_faces(
                model, faces, config.size, workers=machine.workers, on_faces=advance
            )
            figures[name] = measured(faces, logits[name])
    out.print(_table(figures))
    score = float(np.mean([values[AUC] for values in figures.values()]))
    pictures = {
        name: tuple(Picture(f.path, f.label, f.manipulation or f.source) for f in faces)
        for name, faces in data.val.items()
    }
    evaluations = {n: Evaluation(pictures[n], {_COLUMN: x}) for n, x in logits.items()}
    together = Evaluation(
        tuple(one for some in pictures.values() for one in some),
        {_COLUMN: np.concatenate(list(logits.values()))},
    )
    try:
        calibration = calibrate(together)
    except ModelError as error:
        return TrainedFaces(path, score, figures, failure=str(error))
    known = _card_figures(figures, evaluations, calibration)
    update = {"calibration": calibration, "validation": known}
    save_checkpoint(path, model, card.model_copy(update=update))
    out.print(f"Calibrated and kept as {path} and {card_path(path).name}.")
    return TrainedFaces(path, score, figures)


def spread(val: Mapping[str, Sequence[FaceItem]], count: int) -> list[tuple[str, int]]:
    """Which faces are shown each epoch, at most `count`: evenly of every set and label, always the
    same; names of sets with the place of a face in them.
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


def make_card(config: FacesConfig, data: FaceData, model: ResNet18, licence: str) -> Card:
    """The card of a model before it is calibrated."""
    val = "; ".join(f"{name}: {_describe(faces)}" for name, faces in data.val.items())
    note = (
        f"{_describe(data.train)} ({config.train_set}); epoch, calibration and threshold were "
        f"chosen on {val}"
    )
    return Card(
        name=config.name,
        architecture=model.architecture,
        preprocessing=model.preprocessing,
        region=f"faces:{config.size}",
        face_side=FACE_SIDE,
        training=Training(data=f"{note}. {config.note}".rstrip(), commit=code_commit()),
        licence=licence,
    )


def _describe(faces: Sequence[FaceItem]) -> str:
    """How many faces of how many videos of which origin, real and fake."""
    kinds = []
    for label, word in enumerate(("real", "fake")):
        those = [face for face in faces if face.label == label]
        names = Counter(face.manipulation or face.source for face in those)
        videos = counted(len({face.video for face in those}), "video")
        faces_of = counted(len(those), f"{word} face")
        kinds.append(f"{faces_of} of {videos} ({', '.join(sorted(names))})")
    return " and ".join(kinds)


def _first_model(config: FacesConfig, out: Console) -> ResNet18:
    with progress_bar(out) as progress:
        task = progress.add_task("first weights", total=None, note="", visible=False)
        return first_model(
            config,
            on_bytes=lambda done, total: progress.update(
                task, completed=done, total=total, visible=True
            ),
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
    named = {name: getattr(args, name) for name in ("base", "augment", "both")}
    paths = {name: path for name, path in named.items() if path is not None}
    if args.data is not None or not paths:
        raise UsageError(
            f"{args.config} is of kind faces: give prepared sets with --base, --augment or --both"
            f"{', in place of --data' if args.data is not None else ''}."
        )
    trained = train_faces(
        config,
        {name: load_set(path) for name, path in paths.items()},
        args.output,
        licence=args.licence,
        machine=Machine(args.device, args.workers, args.devices, args.nodes),
        resume=args.resume,
        fit_first=not args.finish,
        experiments=args.experiments,
    )
    if not is_main_process():
        return 0
    if trained.code:
        console().print(
            "Go on with the same command and --resume, or take the best epoch so far with "
            "--resume --finish."
        )
    elif not trained.checkpoint.is_file():
        console().print("No epoch has ended yet: nothing was kept.")
    if trained.failure:
        raise ModelError(trained.failure)
    return trained.code
