"""The training loop: any model, any loss, resumed exactly where it was left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edge.errors import ModelError
from edge.signals import Stopped, stop_signals, uninterrupted
from training.checkpoint import SUFFIX
from training.journal import Journal
from training.loading_process import leave_signals_to_parent
from training.run_state import STATE, Best, Moment, load_state, save_state
from training.schedule import make_schedule
from training.settings import LoopSettings, Machine, require_precision
from training.weight_mean import WeightMean

Figures = Mapping[str, object]
"""Of one validation: numbers, or nested mappings of them; goes to log.jsonl and TensorBoard."""


class Objective(Protocol):
    """What is trained, on what, and how it is judged.

    Attributes:
        model: all that is trained; may be more than what is saved.
        samples: map-style; item i depends on a seed and on i alone, for any i from 0 on, so that
            a resumed run draws what an unbroken one would.
        collate: a list of samples → a batch. Arrays rather than tensors, as loading processes
            hand tensors over by file descriptor.
    """

    @property
    def model(self) -> nn.Module: ...

    @property
    def samples(self) -> Dataset[Any]: ...

    @property
    def collate(self) -> Callable[[Sequence[Any]], Any]: ...

    def prepare(self, device: torch.device) -> None:
        """Move the model, and whatever else `loss` needs, to the device; see `placed`."""

    def loss(self, batch: Any) -> Tensor:
        """The scalar to make small, of one batch; called in training mode, under autocast."""

    def validate(self, progress: Progress) -> tuple[float, Figures]:
        """The model's score (higher is better), and what else is worth writing down.

        Must not change the model, and is called without autocast. `progress` takes further tasks.
        """

    def save(self, path: Path) -> None:
        """Write the model as it is now: it is the best so far."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to."""

    loss: float
    rate: float


@dataclass(frozen=True, slots=True)
class Validated:
    """What one validation came to.

    Attributes:
        step: after which.
        loss: mean of the steps before it.
        score: higher is better.
        figures: what else was worth writing down.
        best: whether no validation before had such a score.
    """

    step: int
    loss: float
    score: float
    figures: Figures
    best: bool


class Trainer:
    """Trains an objective in a run folder that it can come back to.

    The folder holds the best model so far, `state.safetensors`, `log.jsonl` with a line per
    validation, and `tensorboard/`. On one CPU with the same number of threads, a run that was
    killed and resumed gives the same bits as one that never was. The CUDA paths ask for
    deterministic kernels; they have not been run on a GPU yet.

    Args:
        objective: what is trained.
        settings: of the optimiser and its clock.
        run_folder: exists.
        out: where people read.
        machine: device and loading processes.
        resume: go on from the folder's saved state.
        on_validation: told of each validation once all of it is written; what it raises ends the
            training.

    Attributes:
        best: step and score of the best model so far; step 0 before the first validation.
        best_path: where it lies.

    Raises:
        UsageError: the device is not there, or cannot train in the precision.
        ModelError: the saved state is missing, broken, or of another training.
    """

    def __init__(
        self,
        objective: Objective,
        settings: LoopSettings,
        run_folder: Path,
        out: Console,
        machine: Machine | None = None,
        resume: bool = False,
        on_validation: Callable[[Validated], None] = lambda validated: None,
    ) -> None:
        self._on_validation = on_validation
        self._objective, self._settings, self._out = objective, settings, out
        self._machine = machine or Machine()
        self._folder = run_folder
        self.best_path = run_folder / f"{settings.name}{SUFFIX}"
        self._device = self._machine.torch_device()
        require_precision(settings.precision, self._device)
        torch.manual_seed(settings.seed)
        objective.prepare(self._device)
        self._adam = torch.optim.Adam(
            objective.model.parameters(), lr=settings.rate, weight_decay=settings.weight_decay
        )
        self._schedule = make_schedule(self._adam, settings)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=settings.precision == "fp16")
        self._mean = WeightMean(objective.model, settings.ema) if settings.ema else None
        self._moment = Moment()
        if resume:
            self._restore()
        else:
            self._save()  # so that --resume works from the first step on
        self._journal = Journal(run_folder, self._moment.step, out)

    @property
    def step(self) -> int:
        """Steps done."""
        return self._moment.step

    @property
    def best(self) -> Best:
        """The best model so far."""
        return self._moment.best

    def fit(self) -> int:
        """Train until the last step, the end of the schedule, or a stop signal.

        Returns:
            0, or 128 + signal; the state is saved in both cases.

        Raises:
            ModelError: the loss is no finite number any more.
            SinkError: a file cannot be written; those of before are whole.
        """
        _make_repeatable(self._device)
        with progress_bar(self._out) as progress, self._journal, stop_signals():
            try:
                self._steps(progress)
            except Stopped as stopped:
                progress.stop()
                self._save()
                self._out.print(f"Stopped after step {self._moment.step}; the state is saved.")
                return stopped.exit_code
            self._save()
        return 0

    def _steps(self, progress: Progress) -> None:
        moment, settings = self._moment, self._settings
        task = progress.add_task("training", total=settings.steps, completed=moment.step, note="")
        saved_at = time.monotonic()
        self._validate_if_due(progress)  # a stop may have come in the middle of it
        batches = self._batches()
        while moment.step < settings.steps and not moment.ended:
            batch = next(batches)
            with uninterrupted():
                step = self._step(batch)
            progress.update(task, advance=1, note=f"loss {step.loss:.3f}")
            self._validate_if_due(progress)
            if time.monotonic() - saved_at >= settings.save_every_s:
                self._save()
                saved_at = time.monotonic()

    def _step(self, batch: object) -> Step:
        model, settings, moment = self._objective.model, self._settings, self._moment
        model.train()
        rate = self._adam.param_groups[0]["lr"]
        with _autocast(self._device, settings):
            loss = self._objective.loss(batch)
        self._require_finite(loss)
        self._adam.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if settings.clip_norm is not None:
            self._scaler.unscale_(self._adam)
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        self._scaler.step(self._adam)
        self._scaler.update()
        self._schedule.after_step()
        if self._mean is not None:
            self._mean.update(model)
        step = Step(float(loss.detach()), rate)
        moment.add_loss(step.loss)
        self._journal.step(moment.step, step.loss, step.rate)
        return step

    def _require_finite(self, loss: Tensor) -> None:
        if not math.isfinite(float(loss.detach())):
            raise ModelError(
                f"the loss is {float(loss.detach())} at step {self._moment.step + 1}, where a "
                "finite number was expected. Lower the rate, clip the gradient, or train in fp32."
            )

    def _validate_if_due(self, progress: Progress) -> None:
        moment, settings = self._moment, self._settings
        due = moment.step % settings.validate_every == 0 or moment.step == settings.steps
        if moment.step == moment.validated or not due:
            return
        with self._averaged():
            score, figures = self._objective.validate(progress)
            with uninterrupted():
                validated = self._note_validation(score, figures)
        self._on_validation(validated)

    def _note_validation(self, score: float, figures: Figures) -> Validated:
        moment = self._moment
        better = score > moment.best.score
        if better:
            self._objective.save(self.best_path)
            moment.best = Best(moment.step, score)
        loss = moment.take_mean_loss()
        note = ", the best" if better else ""
        self._out.print(f"step {moment.step}: loss {loss:.3f}, score {score:.3f}{note}")
        self._journal.validation(moment.step, loss, score, figures)
        moment.ended = self._schedule.after_validation(score)
        moment.validated = moment.step
        if moment.ended:
            self._out.print(f"The rate fell below {self._settings.least_rate:g}: this is the end.")
        return Validated(moment.step, loss, score, figures, better)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self._mean is None:
            yield
            return
        with self._mean.in_place_of(self._objective.model):
            yield

    def _batches(self) -> Iterator[Any]:
        batch, steps = self._settings.batch, self._settings.steps
        loader = DataLoader(
            self._objective.samples,
            batch,
            sampler=range(self._moment.step * batch, steps * batch),
            num_workers=self._machine.workers,
            collate_fn=self._objective.collate,
            worker_init_fn=leave_signals_to_parent,
            # Its own, as the loader draws from the common one each time that it starts.
            generator=torch.Generator(),
        )
        return iter(loader)

    def _save(self) -> None:
        with uninterrupted():
            save_state(self._folder / STATE, self._moment, self._parts())

    def _restore(self) -> None:
        self._moment = load_state(self._folder / STATE, self._parts())
        saved, now = self._moment.threads, torch.get_num_threads()
        if self._device.type == "cpu" and saved != now:
            self._out.print(
                f"The state was saved with {saved} threads, and {now} go on: the last bits will "
                f"differ from an unbroken run. --threads {saved} keeps them."
            )

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "model": self._objective.model,
            "adam": _InLayout(self._adam),
            "schedule": self._schedule,
            "scaler": self._scaler,
        }
        return parts if self._mean is None else {**parts, "mean": self._mean}


class _InLayout:
    """An optimiser whose moments come back in the layout of their weights.

    In another layout the same numbers are worked through in another order, which shows in the
    last bits.
    """

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser
        self.state_dict = optimiser.state_dict

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimiser.load_state_dict(state)
        for weight, values in self._optimiser.state.items():
            for name, value in values.items():
                if value.shape == weight.shape:
                    values[name] = torch.empty_like(weight).copy_(value)


def placed(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device, channels last: two to four times as fast on a CPU."""
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types no such form


def progress_bar(out: Console) -> Progress:
    """Tasks with a count, the time left, and a `note` that each task must be given."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=out,
    )


def _autocast(device: torch.device, settings: LoopSettings) -> torch.autocast:
    dtype = torch.float16 if settings.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=settings.precision != "fp32")


def _make_repeatable(device: torch.device) -> None:
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
