"""What every way to train shares: Adam, its schedule, and validation one item after another."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from edge.errors import ModelError, SourceError
from training.data.crops import model_input as model_input
from training.settings import LoopSettings

Batch = dict[str, Tensor]
"""`frames` uint8 [N, H, W, 3] BGR, `label` float32 [N] (1 fake), `source` int64 [N]; `clean` as
`frames` where a method asks for it."""

MOST_LOST = 100
"""Files that may vanish or break during a training; more of them end it."""

Figures = Mapping[str, float]
"""Of one validation, by name; a slash groups them: `auc/untouched/made-a`."""


class Method(pl.LightningModule):
    """A model, its loss and its validation.

    A new method overrides `loss`; how it is judged comes from a subclass such as
    `training.methods.labels.LabelTraining`.

    Args:
        model: what is trained and saved.
        settings: optimiser, schedule and precision.

    Attributes:
        last_loss: of the last forward pass.
        score: of the last validation, higher is better.
        figures: of the last validation.
        lost: why files could not be read that were sound at the start; a set in order.
        rows: place → logits of what this validation has judged so far.
    """

    def __init__(self, model: nn.Module, settings: LoopSettings) -> None:
        super().__init__()
        self.model, self.settings = model.train(), settings
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types no such form
        self.last_loss = math.nan
        self.score, self.figures = -math.inf, dict[str, float]()
        self.rows: dict[int, list[float]] = {}
        self.lost: dict[str, None] = {}

    def lose(self, reason: str) -> None:
        """Go on without a file; a SourceError once there are too many of them."""
        self.lost[reason] = None
        if len(self.lost) > MOST_LOST:
            raise SourceError(
                f"more than {MOST_LOST} files that were sound at the start cannot be read any "
                f"more, the last: {reason} Mend the folder, then go on with --resume."
            )

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The scalar to minimise; called in training mode, under autocast."""

    @abstractmethod
    def validation_items(self, rank: int, processes: int) -> Iterable[Any]:
        """This process's share of what is validated on, in pieces for `judge`."""

    @abstractmethod
    def judge(self, item: Any) -> Mapping[int, Sequence[float]]:
        """Place among all that is validated on → its logits."""

    @abstractmethod
    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """Score (higher is better) and figures of all logits, float64 [places, columns]."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the model as it is now, with its card."""

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of one forward pass.

        Raises:
            ModelError: it is no finite number.
            SourceError: too many files are gone.
        """
        for reason in batch.get("lost", ()):
            self.lose(str(reason))
        loss = self.loss(batch)
        self.last_loss = float(loss.detach())
        if math.isfinite(self.last_loss):
            return loss
        raise ModelError(
            f"the loss is {self.last_loss} at step {self.global_step + 1}; expected a finite "
            "number. Lower the rate, clip the gradient, or train in fp32."
        )

    def val_dataloader(self) -> Any:
        """The pieces of a validation."""
        return self.validation_items(self.trainer.global_rank, self.trainer.world_size)

    def on_validation_epoch_start(self) -> None:
        """Forget the logits of the last validation."""
        self.rows = {}

    def validation_step(self, item: Any, index: int, dataloader_idx: int = 0) -> None:
        """Judge one piece in fp32, whatever the precision of the training."""
        with torch.autocast(self.device.type, enabled=False):
            rows = self.judge(item)
        self.rows.update({place: list(map(float, row)) for place, row in rows.items()})

    def on_validation_epoch_end(self) -> None:
        """Score all pieces, log the figures, and lower the rate where the score stalls."""
        rows = self._gathered()
        self.score, figures = self.measured(np.array([rows[place] for place in sorted(rows)]))
        self.figures = dict(figures)
        self.log("score", self.score, prog_bar=True, logger=False, sync_dist=True)
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(self.score)
            if schedule.optimizer.param_groups[0]["lr"] < self.settings.least_rate:
                self.trainer.should_stop = True

    def _gathered(self) -> dict[int, list[float]]:
        if self.trainer.world_size == 1:
            return self.rows
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, self.rows)
        return {place: row for part in parts for place, row in part.items()}

    def optimizer(self) -> Optimizer:
        """Adam over the model."""
        settings = self.settings
        return Adam(self.model.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)

    def configure_optimizers(self) -> Any:
        """The optimiser, with the schedule that the settings name."""
        adam = self.optimizer()
        schedule = make_schedule(adam, self.settings)
        if schedule is None:
            return adam
        if isinstance(schedule, ReduceLROnPlateau):  # stepped after each validation, above
            return {
                "optimizer": adam,
                "lr_scheduler": {"scheduler": schedule, "monitor": "score", "interval": "epoch"},
            }
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_schedule(
    adam: Optimizer, settings: LoopSettings
) -> LRScheduler | ReduceLROnPlateau | None:
    """The schedule that the settings name; None for a constant rate."""
    steps = settings.steps
    if settings.schedule == "cosine":
        return CosineAnnealingLR(adam, steps)
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(
            adam, "max", factor=settings.factor, patience=settings.patience, threshold=0.0
        )
    if settings.schedule == "one_cycle":
        # torch divides by warm_up · steps − 1.
        warm_up = 0.0 if settings.warm_up * steps <= 1 else settings.warm_up
        return OneCycleLR(adam, settings.rate, steps, pct_start=warm_up, cycle_momentum=False)
    return None
