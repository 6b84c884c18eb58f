"""The one place that builds a Lightning Trainer: precision, processes, checkpoints, logs, stops."""

from __future__ import annotations

import csv
import io
import logging
import math
import pickle
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EMAWeightAveraging,
    RichProgressBar,
)
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.model_helpers import is_overridden
from rich.console import Console

from edge.errors import ModelError, SourceError
from edge.files import write_whole
from training.checkpoint import SUFFIX
from training.files import writing
from training.methods.base import Method
from training.settings import LoopSettings, Machine, require_precision

LAST, LOG = "last.ckpt", "log.csv"
_LOG_EVERY = 50
"""Steps between points of the loss curve."""


Rows = list[dict[str, float]]
"""Of the log, one for each validation: its step, the mean loss since the one before, the rate, the
score (higher is better) and the figures of the method.
"""


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a training ended.

    Attributes:
        code: 0, or 128 + signal where it was stopped; its state is saved.
        steps: done in all.
        best_step: of the best model; 0 before the first validation.
        best_score: its score.
    """

    code: int
    steps: int
    best_step: int
    best_score: float


class Interrupted(Exception):
    """A stop signal arrived, and the state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class RunRecord(Callback):
    """Keeps the best model of a run, and a line for each validation, in a folder that exists.

    Attributes:
        best_path: file of the best model.
        best_step: steps that it took; 0 before the first validation.
        best_score: its score.
        rows: of the log.
    """

    def __init__(self, folder: Path, settings: LoopSettings, out: Console) -> None:
        self._folder, self._out = folder, out
        self.best_path = folder / f"{settings.name}{SUFFIX}"
        self.best_step, self.best_score = 0, -math.inf
        self.rows: Rows = []
        self._losses, self._passes = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, so that the checkpoint can be read with `weights_only`."""
        best = {"best_step": self.best_step, "best_score": self.best_score}
        return {"rows": self.rows, "losses": self._losses, "passes": self._passes, **best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows, self._losses, self._passes = state["rows"], state["losses"], state["passes"]
        self.best_step, self.best_score = state["best_step"], state["best_score"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, method: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Add up the losses; give the loggers a point of the curve now and then."""
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self._losses, self._passes = self._losses + loss, self._passes + 1
        if trainer.loggers and index % _LOG_EVERY == 0:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            for logger in trainer.loggers:
                logger.log_metrics({"loss": loss, "rate": rate}, trainer.global_step)

    def share_losses(self, trainer: pl.Trainer) -> None:
        """Give each process the mean of all, as only one of them writes the checkpoint."""
        if trainer.world_size > 1:
            losses = torch.tensor(self._losses, device=trainer.strategy.root_device)
            self._losses = float(trainer.strategy.reduce(losses, reduce_op="mean"))

    def on_validation_end(self, trainer: pl.Trainer, method: pl.LightningModule) -> None:
        """Keep the model if it is the best so far, and write the log."""
        assert isinstance(method, Method)
        step, score = trainer.global_step, method.score
        self.share_losses(trainer)
        loss = self._losses / max(self._passes, 1)
        better = score > self.best_score
        if better:
            self.best_step, self.best_score = step, score
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append({"step": step, "loss": loss, "rate": rate, "score": score})
        self.rows[-1] |= method.figures

        self._losses, self._passes = 0.0, 0
        if trainer.is_global_zero:
            if better:
                method.save(self.best_path)
            write_whole(self._folder / LOG, as_csv(self.rows))
            for logger in trainer.loggers:
                logger.log_metrics({"score": score, **method.figures}, step)
            note = ", the best" if better else ""
            self._out.print(f"step {step}: loss {loss:.3f}, score {score:.3f}{note}")


class StateSaver(Checkpoint):
    """Writes `last.ckpt`: after each validation, now and then, and where a stop signal arrives.

    A signal during a validation takes effect after it; a second one stops at once.

    `on_validation` is called with the rows after each validation, when all of it is written; what
    it raises ends the training.
    """

    def __init__(
        self,
        path: Path,
        settings: LoopSettings,
        record: RunRecord,
        on_validation: Callable[[Rows], None],
    ) -> None:
        self._path, self._settings, self._record = path, settings, record
        self._on_validation = on_validation
        self._signal: int | None = None
        self._saved_at = time.monotonic()
        self._handlers: dict[int, Any] = {}
        self._ended = False

    def state_dict(self) -> dict[str, Any]:
        """Whether the schedule has ended the training."""
        return {"ended": self._ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._ended = state["ended"]

    def on_train_start(self, trainer: pl.Trainer, method: pl.LightningModule) -> None:
        """Listen for signals; each process and each start draws other random numbers."""
        torch.manual_seed(hash((self._settings.seed, trainer.global_step, trainer.global_rank)))
        trainer.should_stop = self._ended
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note_signal)

    def teardown(self, trainer: pl.Trainer, method: pl.LightningModule, stage: str) -> None:
        """Leave signals to whoever had them before."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, method: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Save where it is time, and stop where a signal asked for it; between steps only."""
        step, settings = trainer.global_step, self._settings
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        if step >= settings.steps:
            trainer.should_stop = True  # which has what is left of an interval validated
        if trainer.should_stop or step % settings.validate_every == 0:
            return  # the validation comes next, and saves
        due = time.monotonic() - self._saved_at >= settings.save_every_s
        stop, due = (_any_process(trainer, flag) for flag in (self._signal is not None, due))
        if stop or due:
            self._save(trainer)
        self._stop_if(stop)

    def on_validation_end(self, trainer: pl.Trainer, method: pl.LightningModule) -> None:
        """Save what the validation changed, then let the caller know."""
        self._ended = trainer.should_stop and trainer.global_step < self._settings.steps
        self._save(trainer)
        self._on_validation(self._record.rows)
        self._stop_if(_any_process(trainer, self._signal is not None) and not trainer.should_stop)

    def _save(self, trainer: pl.Trainer) -> None:
        self._record.share_losses(trainer)
        with writing(self._path):
            trainer.save_checkpoint(self._path)
        self._saved_at = time.monotonic()

    def _stop_if(self, stop: bool) -> None:
        if stop:
            raise Interrupted(self._signal or signal.SIGINT)


class _Bar(RichProgressBar):
    def __init__(self) -> None:
        super().__init__(leave=True, console_kwargs={"stderr": True})

    def get_metrics(self, trainer: pl.Trainer, method: pl.LightningModule) -> dict[str, Any]:
        """The loss of the last step, without Lightning's version of the log."""
        return {"loss": f"{getattr(method, 'last_loss', 0.0):.3f}"}


class _Average(EMAWeightAveraging):
    """The mean of the weights is in place until the validation is written, best model included."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, method: pl.LightningModule) -> None:
        pass

    def on_validation_end(self, trainer: pl.Trainer, method: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, method)


def fit(
    method: Method,
    data: pl.LightningDataModule,
    folder: Path,
    machine: Machine,
    out: Console,
    *,
    resume: bool = False,
    loggers: Sequence[Logger] = (),
    on_validation: Callable[[Rows], None] = lambda rows: None,
) -> Fitted:
    """Train until the last step, the end of the schedule, or a stop signal.

    Args:
        method: what is trained, with the settings of its training.
        data: gives the batches.
        folder: of the run; exists. `resume` goes on from its last checkpoint.
        machine: devices and processes.
        out: where people read.
        loggers: take curves beside the log of the folder.
        on_validation: called with all rows after each validation; what it raises ends the training.

    Raises:
        UsageError: the device is absent, or cannot train in the precision.
        ModelError: the checkpoint cannot be used, the loss is no finite number, or another
            process of the training is gone.
        SinkError: a file cannot be written; those of before are whole.
    """
    settings = method.settings
    record = RunRecord(folder, settings, out)
    saver = StateSaver(folder / LAST, settings, record, on_validation)
    callbacks: list[Callback] = [record]
    if settings.ema is not None:
        callbacks.append(_Average(decay=settings.ema))
    if settings.early_stop is not None:
        callbacks.append(EarlyStopping("score", mode="max", patience=settings.early_stop))
    if out.is_terminal:
        callbacks.append(_Bar())
    code = 0
    with _quiet():
        trainer = make_trainer(settings, machine, [*callbacks, saver], loggers)
        start = require_checkpoint(folder) if resume else None
        if not is_overridden("val_dataloader", data):  # Lightning then never asks the method
            data.val_dataloader = method.val_dataloader  # type: ignore[method-assign]
        try:
            with _as_sentence(trainer, start):
                trainer.fit(method, datamodule=data, ckpt_path=start, weights_only=True)
        except Interrupted as stopped:
            out.print(f"Stopped after step {trainer.global_step}; the state is saved.")
            code = stopped.exit_code
        except SystemExit as error:  # which is how Lightning passes a KeyboardInterrupt on
            raise KeyboardInterrupt from error
    return Fitted(code, trainer.global_step, record.best_step, record.best_score)


def make_trainer(
    settings: LoopSettings,
    machine: Machine,
    callbacks: list[Callback],
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """The Lightning Trainer of every training; a UsageError where the device does not allow it."""
    device = machine.torch_device()
    require_precision(settings.precision, device)
    several = machine.devices * machine.nodes > 1
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[settings.precision]
    return pl.Trainer(
        accelerator="cpu" if device.type == "cpu" else "gpu",
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy="ddp" if several else "auto",
        sync_batchnorm=several and device.type == "cuda",
        use_distributed_sampler=False,
        precision=precision,  # type: ignore[arg-type]  # Lightning lists the texts
        max_steps=settings.steps,
        accumulate_grad_batches=settings.accumulate,
        val_check_interval=settings.validate_every * settings.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=settings.clip_norm,
        callbacks=callbacks,
        logger=list(loggers) or False,
        enable_checkpointing=True,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(one, RichProgressBar) for one in callbacks),
        inference_mode=False,
    )


def is_main_process() -> bool:
    """Whether this process is the one that speaks and writes, of those that train together."""
    return not getattr(rank_zero_only, "rank", 0)


def require_checkpoint(folder: Path) -> Path:
    """The last checkpoint of a run; a ModelError where there is none."""
    path = folder / LAST
    if path.is_file():
        return path
    raise ModelError(
        f"{folder} has no {LAST} to go on from. Name the folder of a run that was stopped, or "
        "leave out --resume."
    )


def as_csv(rows: Rows) -> str:
    """Rows with a heading; columns as of the last row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[-1]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _any_process(trainer: pl.Trainer, flag: bool) -> bool:
    if trainer.world_size == 1:
        return flag
    return bool(trainer.strategy.reduce_boolean_decision(flag, all=False))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from people what Lightning notes of itself."""
    logs = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


@contextmanager
def _as_sentence(trainer: pl.Trainer, start: Path | None) -> Iterator[None]:
    try:
        yield
    except SourceError as error:  # a loading process gives its traceback as the message
        reason = str(error).rstrip().splitlines()[-1]
        raise SourceError(re.sub(r"^edge\.errors\.\w+: ", "", reason)) from error
    except (pickle.UnpicklingError, EOFError, KeyError, RuntimeError) as error:
        if trainer.world_size > 1 and "peer" in str(error):
            raise ModelError(
                "another process of this training is gone. Go on with the same command and "
                "--resume."
            ) from error
        if start is None or trainer.fit_loop.epoch_progress.total.ready:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{start} cannot be resumed ({reason}). Use the configuration and the version that "
            "wrote it, or train again."
        ) from error
