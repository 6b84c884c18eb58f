"""Training of a small autoencoder on photographs, whose reconstructions become aligned fakes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from edge.types import Image
from training.methods.base import Batch, Figures, Method
from training.pairs.autoencoders import Autoencoder, AutoencoderSpec, reconstruct
from training.pairs.losses import Critic, critic_loss, gradients
from training.pairs.quality import hf_ratio, psnr_db
from training.settings import LoopSettings

WARM_STEPS = 50
CRITIC_FROM = 0.5
"""Part of the training after which the critic takes part."""

CRITIC_SHARE = 0.3
_BETAS, _CRITIC_BETAS = (0.9, 0.99), (0.5, 0.9)


class AutoencoderTraining(Method):
    """Reconstruction near in pixels, bands and local energy; later also to a critic's taste.

    Rate and critic follow the steps or the minutes, whichever are further.

    Args:
        spec: of the autoencoder.
        settings: of the training.
        held_out: photographs to judge on, uint8 [H, W, 3] BGR.
        minutes: the training ends after, over all starts; None for no limit.

    Attributes:
        seconds: that the steps have taken.
    """

    model: Autoencoder

    def __init__(
        self,
        spec: AutoencoderSpec,
        settings: LoopSettings,
        held_out: Sequence[Image],
        minutes: float | None = None,
    ) -> None:
        super().__init__(Autoencoder(spec), settings)
        self.automatic_optimization = False
        self.critic = Critic()
        self.seconds = 0.0
        self._held_out, self._minutes = held_out, minutes

    @property
    def done(self) -> float:
        """Part of the training that is done, 0..1."""
        by_steps = self.global_step / self.settings.steps
        by_time = self.seconds / 60 / self._minutes if self._minutes else 0.0
        return min(max(by_steps, by_time), 1.0)

    def configure_optimizers(self) -> list[Optimizer]:
        """One for the autoencoder, one for the critic."""
        rate = self.settings.rate
        return [
            Adam(self.model.parameters(), lr=rate, betas=_BETAS),
            Adam(self.critic.parameters(), lr=rate, betas=_CRITIC_BETAS),
        ]

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One step of the autoencoder, and of the critic where it takes part."""
        started = time.monotonic()
        adam, critic_adam = cast("list[LightningOptimizer]", self.optimizers())
        done = self.done
        warm = min(1.0, (self.global_step + 1) / WARM_STEPS)
        for group in (*adam.param_groups, *critic_adam.param_groups):
            group["lr"] = self.settings.rate * warm * (1 + math.cos(math.pi * done)) / 2
        x = batch["frames"].movedim(-1, 1) / 255.0
        again = self.model(x)
        critic = self.critic if done >= CRITIC_FROM else None
        loss, gradient = gradients(x, again, critic, CRITIC_SHARE)
        self.checked(loss)
        adam.zero_grad()
        outputs, sent = [again], [gradient]
        if self.model.quantiser is not None:
            outputs.append(self.model.quantisation)
            sent.append(torch.ones(()))
        torch.autograd.backward(outputs, sent)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        adam.step()
        if critic is not None:
            critic_adam.zero_grad()
            self.manual_backward(critic_loss(critic, x, again))
            critic_adam.optimizer.step()  # itself, as Lightning would count another step
        self.seconds += time.monotonic() - started
        if self.done >= 1:
            self.trainer.should_stop = True
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the clock."""
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the clock."""
        self.seconds = checkpoint["seconds"]

    def validation_items(self, rank: int, processes: int) -> Iterable[int]:
        """Places of the held-out photographs."""
        return range(rank, len(self._held_out), processes)

    def judge(self, item: int) -> Mapping[int, Sequence[float]]:
        """PSNR in dB and high-frequency ratio of one reconstruction."""
        return {item: quality(self.model, self._held_out[item])}

    def measured(self, logits: npt.NDArray[np.float64]) -> tuple[float, Figures]:
        """Mean PSNR, and the median of the high-frequency ratios."""
        return float(logits[:, 0].mean()), {"high frequencies": float(np.median(logits[:, 1]))}

    def save(self, path: Path) -> None:
        """The last weights are kept, not the best: a critic costs PSNR."""


@torch.no_grad()
def quality(model: Autoencoder, picture: Image) -> tuple[float, float]:
    """PSNR in dB and high-frequency ratio of the reconstruction of a photograph.

    Args:
        model: in evaluation mode.
        picture: uint8 [H, W, 3] BGR; sides are multiples of the factor.
    """
    again = reconstruct(model, picture)
    return psnr_db(picture, again), hf_ratio(picture, again)
