"""One autoencoder's training, step by step, that goes on exactly where it was left."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from edge.errors import ModelError
from edge.types import Image
from training.pairs.autoencoders import Autoencoder, AutoencoderSpec, reconstruct
from training.pairs.losses import Critic, critic_loss, gradients
from training.pairs.photographs import Pool
from training.pairs.quality import hf_ratio, psnr_db
from training.run_state import Moment, load_state, save_state

WARM_STEPS = 50
CRITIC_FROM = 0.5
"""Part of the training after which the critic takes part."""

CRITIC_SHARE = 0.3
_BETAS, _CRITIC_BETAS = (0.9, 0.99), (0.5, 0.9)


class FitSettings(BaseModel):
    """What all autoencoders of one folder are trained with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0, description="Of each autoencoder, at most.")
    minutes: float | None = Field(default=None, gt=0, description="For each, at most.")
    crop: int = Field(default=64, ge=32, multiple_of=8, description="Side of a crop in pixels.")
    batch: int = Field(default=8, gt=0, description="Crops in a step.")
    rate: float = Field(default=2.5e-3, gt=0, description="First rate of Adam; falls to nothing.")
    seed: int = Field(default=0, ge=0, description="Of weights, crops and regions.")
    photographs: int = Field(default=1500, gt=1, description="Held in memory, at most.")


class _Clock:
    """Seconds that the steps have taken, over all starts."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = float(state["seconds"])


class Fit:
    """The training of one autoencoder.

    Without `minutes`, and with as many threads, a training that was killed and resumed gives the
    same weights on one CPU, bit for bit, as one that never was. (With `minutes`, rate and critic
    follow the clock.)

    Args:
        spec: of the autoencoder.
        settings: of the training.
        pool: photographs.

    Attributes:
        model: what is trained.
    """

    def __init__(self, spec: AutoencoderSpec, settings: FitSettings, pool: Pool) -> None:
        torch.manual_seed(settings.seed)
        self.model, self._critic = Autoencoder(spec).train(), Critic()
        self._adam = torch.optim.Adam(self.model.parameters(), lr=settings.rate, betas=_BETAS)
        self._critic_adam = torch.optim.Adam(
            self._critic.parameters(), lr=settings.rate, betas=_CRITIC_BETAS
        )
        self._settings, self._pool = settings, pool
        self._moment, self._clock = Moment(), _Clock()

    @property
    def step(self) -> int:
        """Steps done."""
        return self._moment.step

    @property
    def seconds(self) -> float:
        """That the steps have taken."""
        return self._clock.seconds

    @property
    def done(self) -> float:
        """Part of the training that is done, 0..1, by steps or minutes, whichever is further."""
        by_steps = self.step / self._settings.steps
        if self._settings.minutes is None:
            return min(by_steps, 1.0)
        return min(max(by_steps, self.seconds / 60 / self._settings.minutes), 1.0)

    def advance(self) -> float:
        """Do one step; gives its loss.

        Raises:
            ModelError: the loss is no finite number.
        """
        started = time.monotonic()
        self._set_rate()
        x = self._draw()
        again = self.model(x)
        with_critic = self.done >= CRITIC_FROM
        loss, gradient = gradients(x, again, self._critic if with_critic else None, CRITIC_SHARE)
        self._adam.zero_grad()
        self._send_back(again, gradient)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._adam.step()
        if with_critic:
            self._advance_critic(x, again)
        self._moment.add_loss(_finite(loss, self.step + 1))
        self._clock.seconds += time.monotonic() - started
        return self._moment.losses / self._moment.counted

    def take_mean_loss(self) -> float:
        """Mean of the losses since this was last asked."""
        return self._moment.take_mean_loss()

    def save(self, path: Path) -> None:
        """Write all that the next step depends on, whole or not at all.

        Raises:
            SinkError: it cannot be written.
        """
        save_state(path, self._moment, self._parts())

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            ModelError: the file is broken, or of another training.
        """
        self._moment = load_state(path, self._parts())

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "critic": self._critic,
            "adam": self._adam,
            "critic_adam": self._critic_adam,
            "clock": self._clock,
        }

    def _draw(self) -> Tensor:
        settings = self._settings
        rng = np.random.default_rng((settings.seed, self.step))
        crops = self._pool.crops(settings.batch, settings.crop, rng)
        return torch.from_numpy(crops).permute(0, 3, 1, 2) / 255.0

    def _set_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / WARM_STEPS)
        rate = self._settings.rate * warm * (1 + math.cos(math.pi * self.done)) / 2
        for adam in (self._adam, self._critic_adam):
            for group in adam.param_groups:
                group["lr"] = rate

    def _send_back(self, again: Tensor, gradient: Tensor) -> None:
        outputs, sent = [again], [gradient]
        if self.model.quantiser is not None:
            outputs.append(self.model.quantisation)
            sent.append(torch.ones(()))
        torch.autograd.backward(outputs, sent)

    def _advance_critic(self, x: Tensor, again: Tensor) -> None:
        self._critic_adam.zero_grad()
        critic_loss(self._critic, x, again).backward()  # type: ignore[no-untyped-call]  # torch's
        self._critic_adam.step()


def judge(model: Autoencoder, pictures: tuple[Image, ...]) -> tuple[float, float]:
    """Mean PSNR in dB and median high-frequency ratio over pictures.

    Args:
        model: is left in training mode if it was.
        pictures: uint8 [H, W, 3] BGR; sides are multiples of the factor.
    """
    training = model.training
    model.eval()
    again = [reconstruct(model, picture) for picture in pictures]
    model.train(training)
    both = list(zip(pictures, again, strict=True))
    psnr = float(np.mean([psnr_db(a, b) for a, b in both]))
    return psnr, float(np.median([hf_ratio(a, b) for a, b in both]))


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise ModelError(
            f"the loss is {value} at step {step}, where a finite number was expected. Lower --rate."
        )
    return value
