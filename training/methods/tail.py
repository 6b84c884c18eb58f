"""Training of the last blocks of a Lite trunk and its head, from maps that the first blocks gave.

Gently: from the fitted head and the published weights, with batch norms as they stand, parts of
two pictures side by side, and a pull back to the start (Li et al., Explicit Inductive Bias for
Transfer Learning, 2018), since a trunk that is free learns its sources by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW, Optimizer

from edge.errors import UsageError
from edge.labels import LABEL_WORDS
from training.checkpoint import Card
from training.data.folders import Picture
from training.methods.base import Batch
from training.methods.labels import LabelTraining
from training.models.lite import LiteModel
from training.probe.config import TuneConfig
from training.probe.features import Features
from training.probe.maps import Kept

EVEN = 2
"""Maps are cut at multiples of this, so that the coarser levels keep their cells."""


class TailTraining(LabelTraining):
    """Blocks after `config.kept` and the head; judged on kept maps of validation pictures.

    Args:
        model: with the head to start from; the weights before the tail get no gradient.
        looks: what is kept of each picture under each of the columns that are reported, picture by
            picture. The rest as of `LabelTraining`.
    """

    model: LiteModel
    config: TuneConfig

    def __init__(
        self,
        model: LiteModel,
        config: TuneConfig,
        pictures: Sequence[Picture],
        looks: Kept,
        card: Card,
    ) -> None:
        super().__init__(model, config, pictures, card)
        self._trunk, self._looks = model.trunk, looks
        self._names = config.validation.reported()
        model.requires_grad_(False)
        self._tail = [
            p for part in model.trunk.parts()[config.kept + 1 :] for p in part.parameters()
        ]
        for parameter in (*self._tail, *model.fc.parameters()):
            parameter.requires_grad_(True)
        self._start = [p.detach().clone() for p in self._tail]
        model.eval()

    def train(self, mode: bool = True) -> TailTraining:
        """Batch norms keep their statistics in any mode."""
        return super().train(False)

    def logits(self, lower: Tensor, maps: Tensor) -> Tensor:
        """Evidence from mean features float32 [N, c] and maps float32 [N, C, h, w]: [N]."""
        logits: Tensor = self.model.fc(self.means(lower, maps))
        return logits.squeeze(1)

    def means(self, lower: Tensor, maps: Tensor) -> Tensor:
        """Mean features of all levels [N, channels] from what `logits` takes."""
        parts = len(self._trunk.parts())
        levels, _ = self._trunk.levels(maps, self.config.kept + 1, parts)
        return torch.cat([lower, levels.mean((2, 3))], 1)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, how far blended faces are from standing above their targets, and the
        squared distance of the weights from their start.
        """
        logits = self.logits(batch["lower"], batch["maps"]).float()
        real, fake = logits.chunk(2)
        twins = batch["twins"]
        order = (F.softplus(real - fake) * twins).sum() / twins.sum().clamp(min=1)
        moved = [((p - s) ** 2).sum() for p, s in zip(self._tail, self._start, strict=True)]
        pull = self.config.pull * torch.stack(moved).sum()
        each = F.binary_cross_entropy_with_logits(logits, batch["label"])
        return each + self.config.rank * order + pull

    def validation_items(self, rank: int, processes: int) -> Iterable[int]:
        """Places of this process's pictures."""
        return range(rank, len(self.pictures), processes)

    def judge(self, item: int) -> Mapping[int, Sequence[float]]:
        """The logits of one picture under each column that chooses."""
        return {item: self.row(item, self.config.validation.columns)}

    @torch.no_grad()
    def row(self, item: int, columns: Sequence[str]) -> list[float]:
        """The logits of one picture under columns that are kept."""
        places = (item * len(self._names) + self._names.index(name) for name in columns)
        return [float(self.model.fc(self._means(self._looks, place))) for place in places]

    @torch.no_grad()
    def features(self, looks: Kept, on_look: Callable[[], None] = lambda: None) -> Features:
        """Mean features of all levels, as the tail now gives them: float32 [looks, channels]."""
        found = []
        for place in range(len(looks.maps)):
            found.append(self._means(looks, place)[0].numpy())
            on_look()
        return np.stack(found)

    def _means(self, looks: Kept, place: int) -> Tensor:
        whole = torch.from_numpy(looks.maps[place].astype(np.float32))[None]
        lower = torch.from_numpy(looks.features[place, : looks.lower])[None]
        return self.means(lower, whole.contiguous(memory_format=torch.channels_last))

    def optimizer(self) -> Optimizer:
        """AdamW; the head, which was fitted, learns at a part of the rate."""
        config = self.config
        groups = [
            {"params": self._tail, "lr": config.rate},
            {"params": [*self.model.fc.parameters()], "lr": config.rate * config.head_rate},
        ]
        return AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)


class MapBatches(pl.LightningDataModule):
    """Batches without end of parts of kept maps, as many real as fake.

    A batch is a dict: `lower` float32 [N, c], `maps` float32 [N, C, cells, cells], channels last,
    `label` float32 [N], which lies between 0 and 1 where two pictures share a map, and `twins`
    float32 [N / 2], 1 where the fake of that place in the second half is the real one of the first,
    blended. Step i depends on the seed and i alone.

    Args:
        kept: of the looks.
        labels: of each look.
        weights: how often each is drawn, of its label.
        blended: whether a look is the look before it, blended.
        config: of the training.
    """

    def __init__(
        self,
        kept: Kept,
        labels: npt.NDArray[np.int64],
        weights: npt.NDArray[np.float64],
        blended: npt.NDArray[np.bool_],
        config: TuneConfig,
    ) -> None:
        super().__init__()
        self._kept, self._config = kept, config
        self._blended = blended & (config.rank > 0)
        large = np.array([min(one.shape[1:]) >= config.cells for one in kept.maps])
        self._drawn = []
        for label in (0, 1):
            places = np.flatnonzero(large & (labels == label) & (weights > 0))
            if not len(places):
                raise UsageError(
                    f"cells: expected maps of {config.cells} cells a side or more, found none of "
                    f"{LABEL_WORDS[label]}. Set cells lower, or show larger views."
                )
            self._drawn.append((places, weights[places] / weights[places].sum()))

    def train_dataloader(self) -> Iterator[Batch]:
        """From the trainer's next step on."""
        step = self.trainer.global_step if self.trainer else 0
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        config = self._config
        rng = np.random.default_rng((config.seed, step))
        half = config.batch // 2
        real, fake = (rng.choice(p, half, p=share) for p, share in self._drawn)
        twins = self._blended[fake]
        places = np.concatenate([np.where(twins, fake - 1, real), fake])
        draws = rng.random((2, half, 3))
        draws[1, twins] = draws[0, twins]
        parts = zip(places, draws.reshape(-1, 3), strict=True)
        maps = torch.from_numpy(np.stack([self._part(self._kept.maps[p], d) for p, d in parts]))
        lower = torch.from_numpy(self._kept.features[places, : self._kept.lower])
        label = torch.arange(2).repeat_interleave(half).float()
        if rng.random() < config.mix:
            other = torch.from_numpy(rng.permutation(len(places)))
            at = int(rng.integers(1, config.cells // EVEN)) * EVEN
            share, axis = at / config.cells, 2 + int(rng.random() < 0.5)
            mine, theirs = maps.narrow(axis, 0, at), maps[other].narrow(axis, at, config.cells - at)
            maps = torch.cat([mine, theirs], axis)
            lower = share * lower + (1 - share) * lower[other]
            label = share * label + (1 - share) * label[other]
            twins = np.zeros(half)
        maps = maps.contiguous(memory_format=torch.channels_last)
        together = torch.from_numpy(twins.astype(np.float32))
        return {"lower": lower, "maps": maps, "label": label, "twins": together}

    def _part(self, whole: npt.NDArray[np.float16], draws: npt.NDArray[np.float64]) -> Any:
        """A part of a map, by three numbers in 0..1 for its place and whether it is mirrored."""
        cells = self._config.cells
        top, left = (
            int(d * ((n - cells) // EVEN + 1)) * EVEN
            for d, n in zip(draws[:2], whole.shape[1:], strict=True)
        )
        part = whole[:, top : top + cells, left : left + cells].astype(np.float32)
        return part[:, :, ::-1] if draws[2] < 0.5 else part
