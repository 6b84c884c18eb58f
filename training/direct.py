"""Train a detector directly with the label of the picture.

DATA holds train/ and val/, each with 0_real/<source>/… and 1_fake/<source>/…. The best step on val
is kept as OUTPUT/NAME.safetensors with its card, which carries the calibration and the figures;
OUTPUT/log.jsonl has a line per validation. Ctrl-C stops the training and finishes with the best
step so far.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from edge.commands.options import console, positive
from edge.errors import SinkError
from edge.manifest import Calibration, Figure, Training
from edge.signals import Stopped, stop_signals
from edge.types import Batch, FloatArray
from training.calibration import alarm_share, calibrate
from training.checkpoint import SUFFIX, Card, card_path, save_checkpoint
from training.data.crops import BalancedCrops, Sample, normalised, stacked
from training.data.degradations import COLUMNS, H264_23, JPEG_75, JPEG_90, UNTOUCHED
from training.data.folders import PictureFolder, index_folder
from training.evaluation import Evaluation, evaluate
from training.models import ARCHITECTURES, PREPROCESSINGS, PatchModel, build
from training.program import run_program

CHOICE_COLUMNS = (UNTOUCHED, JPEG_90, JPEG_75)
"""A step is chosen by the mean over these; H.264 is left out for its time."""

CALIBRATION_COLUMNS = (JPEG_90, JPEG_75, H264_23)
AUC = "mean auc per generator"
FALSE_ALARMS = "photographs above the threshold"
FOUND = "generated pictures above it"
SHOWN_REJECTED = 5


@dataclass(slots=True)
class Best:
    """The best step so far, by the mean AUC on the validation pictures."""

    step: int = 0
    auc: float = -1.0
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, step: int, auc: float, model: PatchModel) -> bool:
        """Keep a copy of the model if it is better; says whether it was."""
        if auc <= self.auc:
            return False
        self.step, self.auc = step, auc
        self.state = {key: value.clone() for key, value in model.state_dict().items()}
        return True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with train/ and val/")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="new folder for the results"
    )
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="tiny_ladeda")
    parser.add_argument("--preprocessing", choices=PREPROCESSINGS, default="x_grad")
    parser.add_argument("--steps", type=positive, default=1200, metavar="N")
    parser.add_argument("--batch", type=positive, default=32, metavar="N", help="crops per step")
    parser.add_argument("--crop", type=positive, default=128, metavar="PX", help="side of a crop")
    parser.add_argument("--rate", type=float, default=5e-3, help="first learning rate of Adam")
    parser.add_argument(
        "--validate-every", type=positive, default=300, metavar="N", help="steps between"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare crops")
    _add_card_arguments(parser)


def _add_card_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="tiny-ladeda", help="of the model (%(default)s)")
    parser.add_argument(
        "--licence", required=True, metavar="TEXT", help="of the weights, for the card"
    )
    parser.add_argument(
        "--note", default="", metavar="TEXT", help="on the training data, for the card"
    )


def run(args: argparse.Namespace) -> int:
    """Train, calibrate, report.

    Returns:
        The exit code: 0 trained to the end, 128 + signal when stopped before.
    """
    out = console()
    _require_fresh(args.output)
    torch.manual_seed(args.seed)
    model = build(args.architecture, args.preprocessing)
    train = _indexed(args.data / "train", args.crop, out)
    val = _indexed(args.data / "val", model.grid.smallest_input(), out)
    session = DirectTraining(args, model, train, val, out)
    code = session.fit()
    if not session.best.state:
        out.print("Stopped before the first validation: nothing was kept.")
        return code
    session.finish()
    return code


class DirectTraining:
    """One run: fits a model, keeps its best step, calibrates and describes it.

    Args:
        args: the parsed flags.
        model: with fresh weights.
        train: pictures to learn from, each at least a crop large.
        val: pictures to choose, calibrate and report on.
        out: where people read.

    Attributes:
        best: the best step so far.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        model: PatchModel,
        train: PictureFolder,
        val: PictureFolder,
        out: Console,
    ) -> None:
        self.best = Best()
        self._args, self._train, self._val, self._out = args, train, val, out
        self._model = _channels_last(model)
        self._adam = torch.optim.Adam(model.parameters(), lr=args.rate)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._adam, args.steps)
        self._path = args.output / f"{args.name}{SUFFIX}"

    def fit(self) -> int:
        """Train until the last step or a stop signal; the best step so far is on the disk.

        Returns:
            0, or 128 + signal.
        """
        with _progress(self._out) as progress:
            try:
                with stop_signals():
                    self._steps(progress)
            except Stopped as stopped:
                progress.stop()
                self._out.print("Stopped; finishing with the best step so far.")
                return stopped.exit_code
        return 0

    def finish(self) -> None:
        """Measure the best step, calibrate it, and write it with its figures.

        Raises:
            ModelError: it cannot be calibrated; it stays on the disk as it is.
        """
        self._model.load_state_dict(self.best.state)
        with _progress(self._out) as progress:
            evaluation = self._evaluate(tuple(COLUMNS), "final validation", progress)
        _print_aucs(evaluation, self._out)
        card = self._card(evaluation)
        save_checkpoint(self._path, self._model, card)
        _print_alarms(evaluation, card.calibration, self._out)
        self._out.print(
            f"Step {self.best.step} is kept as {self._path} and {card_path(self._path).name}."
        )

    def _steps(self, progress: Progress) -> None:
        task = progress.add_task("training", total=self._args.steps, note="")
        losses: list[float] = []
        for step, (crops, labels) in enumerate(self._loader(), start=1):
            losses.append(self._step(crops, labels))
            progress.update(task, advance=1, note=f"loss {losses[-1]:.3f}")
            if step % self._args.validate_every == 0 or step == self._args.steps:
                self._validate(step, sum(losses) / len(losses), progress)
                losses.clear()

    def _step(self, crops: Batch, labels: FloatArray) -> float:
        self._model.train()
        logits = self._model(normalised(crops).contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels))
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._adam.step()
        self._schedule.step()
        return float(loss.detach())

    def _validate(self, step: int, loss: float, progress: Progress) -> None:
        evaluation = self._evaluate(CHOICE_COLUMNS, "validation", progress)
        auc = evaluation.mean_auc(CHOICE_COLUMNS)
        better = self.best.offer(step, auc, self._model)
        if better:
            save_checkpoint(self._path, self._model, self._card(None))
        self._out.print(
            f"step {step}: loss {loss:.3f}, mean AUC {auc:.3f}{', the best' if better else ''}"
        )
        line = {"step": step, "loss": loss, "mean_auc": auc}
        with (self._args.output / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({**line, "auc": _auc_table(evaluation)}) + "\n")

    def _evaluate(self, columns: tuple[str, ...], title: str, progress: Progress) -> Evaluation:
        task = progress.add_task(title, total=len(self._val.pictures), note="")
        pictures = self._val.pictures
        evaluation = evaluate(self._model, pictures, columns, lambda: progress.advance(task))
        progress.remove_task(task)
        return evaluation

    def _loader(self) -> DataLoader[Sample]:
        args = self._args
        return DataLoader(
            BalancedCrops(self._train.pictures, args.crop, args.steps * args.batch, args.seed),
            args.batch,
            num_workers=args.workers,
            collate_fn=stacked,
            worker_init_fn=_leave_signals_to_parent,
        )

    def _card(self, evaluation: Evaluation | None) -> Card:
        args = self._args
        card = Card(
            name=args.name,
            architecture=self._model.architecture,
            preprocessing=self._model.preprocessing,
            training=Training(data=self._data_note(), commit=_commit()),
            licence=args.licence,
        )
        if evaluation is None:
            return card
        degraded = evaluation.restricted_to(CALIBRATION_COLUMNS)
        calibration = calibrate(degraded)
        figures = {"calibration": calibration, "validation": _figures(evaluation, calibration)}
        return card.model_copy(update=figures)

    def _data_note(self) -> str:
        note = (
            f"{self._train.describe()}, labelled by picture; step, calibration and threshold were "
            f"chosen on {self._val.describe()}, the last two under {', '.join(CALIBRATION_COLUMNS)}"
        )
        return f"{note}. {self._args.note}" if self._args.note else f"{note}."


def _figures(evaluation: Evaluation, calibration: Calibration) -> tuple[Figure, ...]:
    data = f"validation pictures ({evaluation.describe()})"
    figures = []
    for name in evaluation.logits:
        values = {
            AUC: evaluation.mean_auc([name]),
            FALSE_ALARMS: alarm_share(evaluation.of_label(name, 0), calibration),
            FOUND: alarm_share(evaluation.of_label(name, 1), calibration),
        }
        figures += [
            Figure(data=data, degradation=name, metric=metric, value=round(value, 4))
            for metric, value in values.items()
        ]
    return tuple(figures)


def _auc_table(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    return {name: evaluation.generator_aucs(name) for name in evaluation.logits}


def _print_aucs(evaluation: Evaluation, out: Console) -> None:
    table = Table("AUC", *evaluation.logits, title="Validation, whole pictures at native pixels")
    aucs = _auc_table(evaluation)
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


def _channels_last(model: PatchModel) -> PatchModel:
    # With few channels twice as fast on a CPU as the default layout.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch types no such form


def _progress(out: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=out,
    )


def _require_fresh(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise SinkError(f"{folder} exists and is not empty. Name a new folder for this run.")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SinkError(f"{folder} cannot be made: {error.strerror}.") from error


def _indexed(split: Path, smallest: int, out: Console) -> PictureFolder:
    folder = index_folder(split, smallest)
    out.print(f"{split}: {folder.describe()}")
    if folder.rejected:
        out.print(f"{split}: {len(folder.rejected)} files are left out:")
    for rejected in folder.rejected[:SHOWN_REJECTED]:
        out.print(f"  {rejected.reason}")
    if len(folder.rejected) > SHOWN_REJECTED:
        out.print(f"  and {len(folder.rejected) - SHOWN_REJECTED} more")
    return folder


def _leave_signals_to_parent(_worker: int) -> None:
    # A worker that died of Ctrl-C would fail the parent before it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(run_program("training.direct", __doc__, add_arguments, run))
