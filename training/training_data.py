"""The pictures of a training, as its configuration names them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from training.config import ModelConfig
from training.data.dataset import TrainingData, open_training_data

__all__ = ["TrainingData", "find_data"]


def find_data(
    config: ModelConfig, folder: Path | None, smallest: int, out: Console
) -> TrainingData:
    """See `open_training_data`."""
    return open_training_data(config.data, folder, smallest, out)
