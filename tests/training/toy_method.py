"""A training that takes no time: a tiny network learns to tell bright noise from dark.

Run as a program, it trains in a folder: `python -m tests.training.toy_method FOLDER PROCESSES
[--resume]`, with settings as JSON in $TOY; the step of each loss goes to stdout.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edge.errors import PatchwatchError
from training.data.samples import BatchSampler
from training.methods.base import Batch, Figures, Method
from training.settings import LoopSettings, Machine
from training.trainer import Fitted, fit

SIDE, HELD_OUT = 12, 7


class Noise(Dataset[dict[str, Any]]):
    """Sample i: noise of label i mod 2, the brighter the label."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng, label = np.random.default_rng(index), index % 2
        frames = rng.normal(label - 0.5, 1, (3, SIDE, SIDE)).astype(np.float32)
        return {"frames": frames, "label": np.float32(label)}


class NoiseData(pl.LightningDataModule):
    """Batches as those of `training.data.module.PictureData`."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        trainer = self.trainer
        assert trainer is not None
        start = trainer.global_step * trainer.accumulate_grad_batches
        share = trainer.global_rank, trainer.world_size
        return DataLoader(Noise(), batch_sampler=BatchSampler(self._batch, start, *share))


class ToyTraining(Method):
    """Scores the mean margin on a few held-out samples."""

    def __init__(self, settings: LoopSettings, on_loss: Callable[[int], None]) -> None:
        torch.manual_seed(settings.seed)
        layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * (SIDE - 2) ** 2, 1)
        super().__init__(nn.Sequential(*layers), settings)
        self.on_loss = on_loss

    def loss(self, batch: Batch) -> Tensor:
        self.on_loss(self.global_step)
        logits = self.model(batch["frames"]).squeeze(1)
        return nn.functional.binary_cross_entropy_with_logits(logits, batch["label"])

    def validation_items(self, rank: int, processes: int) -> Iterable[int]:
        return range(rank, HELD_OUT, processes)

    def judge(self, item: int) -> Mapping[int, Sequence[float]]:
        sample = Noise()[10_000 + item]
        return {item: [float(self.model(torch.from_numpy(sample["frames"])[None]))]}

    def measured(self, logits: Any) -> tuple[float, Figures]:
        margin = float((logits[:, 0] * [-1, 1, -1, 1, -1, 1, -1]).mean())
        return margin, {"margin": margin}

    def save(self, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, path)


def train(
    folder: Path,
    settings: LoopSettings,
    *,
    processes: int = 1,
    resume: bool = False,
    on_loss: Callable[[int], None] = lambda step: None,
    **options: Any,
) -> Fitted:
    """Train in a folder, which is made."""
    folder.mkdir(exist_ok=True)
    method, data = ToyTraining(settings, on_loss), NoiseData(settings.batch // settings.accumulate)
    machine, out = Machine("cpu", 0, processes), Console(stderr=True)
    return fit(method, data, folder, machine, out, resume=resume, **options)


def main() -> int:
    """Train; prints the number of steps before each loss."""
    settings = LoopSettings.model_validate_json(os.environ["TOY"])
    resume = "--resume" in sys.argv

    def on_loss(step: int) -> None:
        os.write(1, f"{step}\n".encode())  # at once, as another process writes there too
        time.sleep(0.05)  # to be killed in

    try:
        folder, processes = Path(sys.argv[1]), int(sys.argv[2])
        fitted = train(folder, settings, processes=processes, resume=resume, on_loss=on_loss)
    except PatchwatchError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return fitted.code


if __name__ == "__main__":
    sys.exit(main())
