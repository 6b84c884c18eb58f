"""Mean features of samples, computed once and kept in blocks that a killed run goes on from."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from edge.errors import ModelError
from edge.files import written_whole
from edge.types import Batch, FloatArray
from training.data.crops import Sample, normalised
from training.loading_process import leave_signals_to_parent
from training.models import PatchModel

BLOCK = 256
"""Samples in one file; a killed run loses fewer than so many."""

Features = npt.NDArray[np.float32]


@torch.no_grad()
def mean_features(model: PatchModel, crops: Batch) -> Features:
    """The mean over a picture of each feature.

    Args:
        model: in evaluation mode, on the CPU; its head reads nothing but this mean.
        crops: uint8 [N, H, W, 3] BGR.

    Returns:
        float32 [N, channels].
    """
    pixels = normalised(crops).contiguous(memory_format=torch.channels_last)
    maps = model.features(model.preprocess(pixels))
    means: Features = F.adaptive_avg_pool2d(maps, 1).flatten(1).numpy()
    return means


class SampleFeatures:
    """Features and labels of the first samples of a sequence.

    Args:
        model: as of `mean_features`.
        samples: sample i depends on i alone.
        count: how many of them.
        folder: for the blocks; made where it is absent.
        workers: processes that prepare samples; 0 for none.
    """

    def __init__(
        self,
        model: PatchModel,
        samples: Dataset[Sample],
        count: int,
        folder: Path,
        workers: int,
    ) -> None:
        self._model, self._samples, self._count = model, samples, count
        self._folder, self._workers = folder, workers

    def compute(self, on_samples: Callable[[int], None]) -> tuple[Features, FloatArray]:
        """Compute what is missing, read the rest.

        Args:
            on_samples: called with how many samples are there now.

        Returns:
            float32 [count, channels], and labels, float32 [count].

        Raises:
            ModelError: a block cannot be read, or is of another model.
            SinkError: a block cannot be written.
        """
        blocks, labels = [], []
        for start in range(0, self._count, BLOCK):
            path = self._folder / f"{start:07d}.npy"
            if not path.is_file():
                self._write(path, start, min(start + BLOCK, self._count))
            block = self._read(path)
            blocks.append(block[:, 1:])
            labels.append(block[:, 0])
            on_samples(min(start + BLOCK, self._count))
        return np.concatenate(blocks), np.concatenate(labels)

    def _write(self, path: Path, start: int, end: int) -> None:
        loader: DataLoader[Sample] = DataLoader(
            self._samples,
            batch_size=None,  # one by one, as their sizes differ
            sampler=range(start, end),
            num_workers=self._workers,
            collate_fn=_as_it_is,
            worker_init_fn=leave_signals_to_parent,
        )
        rows = [
            np.concatenate([[label], mean_features(self._model, crop[None])[0]])
            for crop, label in loader
        ]
        data = io.BytesIO()
        np.save(data, np.stack(rows).astype(np.float32), allow_pickle=False)
        with written_whole(path, data.getvalue()):
            pass

    def _read(self, path: Path) -> Features:
        try:
            block = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ModelError(f"{path} cannot be read ({error}). Delete it and resume.") from error
        expected = self._model.fc.in_features + 1
        if block.ndim != 2 or block.shape[1] != expected:
            raise ModelError(
                f"{path}: expected rows of {expected} numbers, found shape {block.shape}. Name "
                "another folder for this run."
            )
        found: Features = block
        return found


def _as_it_is(sample: Any) -> Any:  # torch types it as of a list alone
    # An array, where the loader would make a tensor of it.
    return sample
