"""Optimiser, schedule and machine of every training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field

from edge.errors import UsageError
from edge.schema import Strict

Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal["constant", "cosine", "plateau", "one_cycle"]
Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")


class CommonSettings(Strict):
    """What every training may say of its loop, whatever it learns from."""

    name: str = Field(min_length=1, description="Of the model; the best is NAME.safetensors.")
    warm_up: float = Field(
        default=0.3, ge=0, lt=1, description="One_cycle: share of the steps in which it rises."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="Of Adam: this times the weight is added to its gradient."
    )
    save_every_s: float = Field(
        default=300.0, ge=0, description="Seconds between checkpoints; 0 saves after every step."
    )
    precision: Precision = Field(
        default="fp32", description="Of the forward pass: fp32, bf16, or fp16 (a GPU only)."
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay of the running mean of the weights that is validated; null for none.",
    )
    accumulate: int = Field(
        default=1, gt=0, description="Forward passes that a step's batch is divided into."
    )
    early_stop: int | None = Field(
        default=None, gt=0, description="Validations without a new best that end the training."
    )
    seed: int = Field(default=0, ge=0, description="Of the first weights and of every sample.")


class LoopSettings(CommonSettings):
    """The optimiser and its schedule; a configuration of a training inherits these keys."""

    steps: int = Field(gt=0, description="Steps of the optimiser, at most.")
    batch: int = Field(default=32, gt=0, description="Samples per step.")
    rate: float = Field(
        default=2e-4, gt=0, description="First learning rate of Adam; of one_cycle the highest."
    )
    schedule: Schedule = Field(
        default="constant",
        description="Rate over time: constant, cosine (to zero at the last step), plateau, or "
        "one_cycle (up from a 25th, then down to nearly nothing at the last step).",
    )
    patience: int = Field(
        default=5,
        ge=0,
        description="Plateau: validations without a new best before the rate falls.",
    )
    factor: float = Field(default=0.9, gt=0, lt=1, description="Plateau: what the rate falls by.")
    least_rate: float = Field(
        default=1e-6, ge=0, description="Plateau: the training ends once the rate is below it."
    )
    validate_every: int = Field(default=1000, gt=0, description="Steps between validations.")
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of a step's gradient; null for any."
    )


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a training runs; no part of what it gives, apart from rounding.

    Attributes:
        device: `auto` takes a GPU if there is one.
        workers: processes that prepare samples; 0 for none.
        devices: processes that train on this machine, each on a GPU of its own where there are.
        nodes: machines that train together.
    """

    device: Device = "auto"
    workers: int = 1
    devices: int = 1
    nodes: int = 1

    def torch_device(self) -> torch.device:
        """The device of the tensors.

        Raises:
            UsageError: `cuda` is asked for and torch finds no such device.
        """
        found = torch.cuda.is_available()
        if self.device == "cuda" and not found:
            raise UsageError(
                "--device cuda: expected a CUDA GPU, torch finds none. Use --device cpu, or "
                "install a build of torch with CUDA."
            )
        return torch.device("cuda" if found and self.device != "cpu" else "cpu")


def require_precision(precision: Precision, device: torch.device) -> None:
    """Check that a device can train in a precision.

    Raises:
        UsageError: fp16 without a GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise UsageError("precision fp16 needs a GPU; found none. Use bf16 or fp32 on a CPU.")
