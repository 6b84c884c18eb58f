"""A training that takes no time: a tiny patch model learns to tell bright noise from dark.

Run as a program, it trains in a folder: `python -m tests.training.toy_objective FOLDER`, with
settings as JSON on stdin; the loss of each step goes to stdout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from training.loop import Figures, Trainer, placed
from training.settings import LoopSettings, Machine

SIDE = 12


class Noise(Dataset[tuple[Any, float]]):
    """Sample i: noise of label i mod 2, the brighter the label."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __getitem__(self, index: int) -> tuple[Any, float]:
        rng = np.random.default_rng((self._seed, index))
        label = index % 2
        return rng.normal(label - 0.5, 1, (3, SIDE, SIDE)).astype(np.float32), float(label)


class ToyObjective:
    """Scores the negative loss on one fixed batch."""

    def __init__(self, seed: int, on_loss: Callable[[float], None] = lambda loss: None) -> None:
        self.samples = Noise(seed)
        self.model: nn.Module = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(8 * (SIDE - 2) ** 2, 1),
        )
        self.on_loss = on_loss
        self.held_out = self.collate([self.samples[10_000 + i] for i in range(16)])

    @staticmethod
    def collate(samples: Sequence[tuple[Any, float]]) -> tuple[Any, Any]:
        pictures, labels = zip(*samples, strict=True)
        return np.stack(pictures), np.array(labels, dtype=np.float32)

    def prepare(self, device: torch.device) -> None:
        placed(self.model, device)

    def loss(self, batch: Any) -> Tensor:
        logits = self.model(torch.from_numpy(batch[0])).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(batch[1]))
        self.on_loss(float(loss.detach()))
        return loss

    @torch.no_grad()
    def validate(self, progress: Progress) -> tuple[float, Figures]:
        self.model.eval()
        loss = float(self.loss(self.held_out))
        return -loss, {"held_out": {"loss": loss}}

    def save(self, path: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, path)


def main() -> int:
    """Train; prints each loss."""
    folder = Path(sys.argv[1])
    settings = LoopSettings.model_validate(json.load(sys.stdin))
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    objective = ToyObjective(settings.seed, lambda loss: print(loss, flush=True))
    machine = Machine("cpu", workers=0)
    return Trainer(objective, settings, folder, Console(stderr=True), machine).fit()


if __name__ == "__main__":
    sys.exit(main())
