"""The pictures of a training as Lightning takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from edge.terminal import console
from training.data.config import DataConfig
from training.data.dataset import TrainingData, open_training_data
from training.data.folders import PictureFolder
from training.data.samples import (
    AlignedPair,
    PictureSamples,
    SampleSettings,
    endless,
)
from training.degrade import Policy


class PictureData(pl.LightningDataModule):
    """Batches without end, balanced over classes and sources, and pictures to validate on.

    A batch is a dict: `frames` uint8 [N, H, W, 3] BGR, `label` float32 [N] (1 fake), `source`
    int64 [N], with `clean` also `clean`, the same crop before its degradations. Sample i depends
    on the seed and i alone, so that neither workers, nor processes, nor a restart change what is
    drawn: a resumed trainer goes on after its last step. Over several processes each draws its
    share of a batch; give the Trainer `use_distributed_sampler=False`.

    Args:
        data: which pictures, and how they are cut.
        policy: of the degradations; None for none.
        seed: of every sample.
        batch: samples of a forward pass, over all processes.
        folder: goes before `data.path`.
        workers: loading processes; 0 for none.
        clean: batches hold clean crops too; the policy must not resize.
        smallest: least side of a validation picture in pixels.
        out: where people read what was found.
    """

    found: TrainingData

    def __init__(
        self,
        data: DataConfig,
        policy: Policy | None = None,
        seed: int = 0,
        batch: int = 32,
        *,
        folder: Path | None = None,
        workers: int = 0,
        clean: bool = False,
        smallest: int = 1,
        out: Console | None = None,
    ) -> None:
        super().__init__()
        self._data, self._folder, self._smallest, self._out = data, folder, smallest, out
        self._batch, self._workers = batch, workers
        names = SampleSettings.__dataclass_fields__.keys() & DataConfig.model_fields.keys()
        values = {name: getattr(data, name) for name in names}
        values["cache_mb"] //= max(workers, 1)
        self._settings = SampleSettings(**values, policy=policy, clean=clean, seed=seed)

    def setup(self, stage: str | None = None) -> None:
        """Find all pictures, once, as `found`; errors as of `open_training_data`."""
        if not hasattr(self, "found"):
            out = self._out or console()
            self.found = open_training_data(self._data, self._folder, self._smallest, out)

    @property
    def val(self) -> PictureFolder:
        """The pictures to validate on."""
        return self.found.val

    @property
    def pairs(self) -> Sequence[AlignedPair]:
        """Photographs with their reconstructions."""
        return self.found.pairs

    def describe(self) -> str:
        """What is learned from, in one line."""
        return self.found.describe()

    def samples(self) -> PictureSamples:
        """What batches are made of; item i for any i from 0 on."""
        train = self.found.train
        return PictureSamples(train.pictures if train else (), self.found.pairs, self._settings)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches without end, from the trainer's next step on."""
        return endless(self.samples(), self._batch, self.trainer, self._workers)
