"""The pictures of a training as Lightning takes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytorch_lightning as pl
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edge.errors import UsageError
from edge.terminal import console
from training.data.config import DataConfig
from training.data.dataset import TrainingData, open_training_data
from training.data.samples import PictureSamples, Sample, endless
from training.data.shards import ShardSet, StreamedSamples
from training.degrade import Policy


class PictureData(pl.LightningDataModule):
    """Batches without end, balanced over classes and sources, and pictures to validate on.

    A batch is a dict: `frames` uint8 [N, H, W, 3] BGR, `label` float32 [N] (1 fake), `source`
    int64 [N], with `clean` also `clean`, the same crop before its degradations. Neither workers,
    nor processes, nor a restart change what is drawn: a resumed trainer goes on after its last
    step. Not so of shards, which each process streams in an order of its own. Over several
    processes each draws its share of a batch; give the Trainer `use_distributed_sampler=False`.

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
        kept: what is learned from in place of the pictures of the training split.
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
        kept: Dataset[Sample] | None = None,
    ) -> None:
        super().__init__()
        self._data, self._folder, self._smallest, self._out = data, folder, smallest, out
        self._policy, self._seed, self._clean = policy, seed, clean
        self._batch, self._workers, self._kept = batch, workers, kept

    def setup(self, stage: str | None = None) -> None:
        """Find all pictures, once, as `found`; errors as of `open_training_data`."""
        if not hasattr(self, "found"):
            out = self._out or console()
            self.found = open_training_data(
                self._data, self._folder, self._smallest, out, streams=True
            )

    def samples(self) -> PictureSamples:
        """Samples of the pictures; item i for any i from 0 on. UsageError of shards."""
        if self.found.shards is not None:
            raise UsageError(f"{self.found.shards.shown} has shards. Expected a folder.")
        pictures = self.found.train.pictures if self.found.train else ()
        each = self._data.cache_mb // max(self._workers, 1)
        data = self._data.model_copy(update={"cache_mb": each})
        return PictureSamples(pictures, data, self._policy, self._seed, self._clean)

    def drawn(self) -> Iterator[Sample]:
        """The samples that this process would prepare alone, without end."""
        if self.found.shards is not None:
            return iter(self._streamed(self.found.shards))
        return map(self.samples().__getitem__, count())

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches without end, from the trainer's next step on."""
        if self.found.shards is None or self._kept is not None:
            return endless(self._kept or self.samples(), self._batch, self.trainer, self._workers)
        world = 1 if self.trainer is None else self.trainer.world_size
        return self._streamed(self.found.shards).loader(self._batch // world, self._workers)

    def _streamed(self, shards: ShardSet) -> StreamedSamples:
        seed = [self._seed]
        if self.trainer is not None:
            seed += [self.trainer.global_step, self.trainer.global_rank]
        data = self._data.model_copy(
            update={"cache_mb": self._data.cache_mb // max(self._workers, 1)}
        )
        return StreamedSamples(shards, data.train, data, self._policy, seed, self._clean)
