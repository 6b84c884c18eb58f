"""Training samples: crops drawn evenly over classes and sources, or from pairs, then degraded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from typing_extensions import NotRequired

from edge.regions import resize_antialiased
from edge.sources.images import read_image
from edge.types import Image
from training.data.crops import part_at, resized
from training.data.folders import LABEL_FOLDERS, Picture
from training.data.pictures import BalancedDraw
from training.degrade import Chain, Policy, first_jpeg
from training.loading_process import leave_signals_to_parent

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

_LOSSY_FILES = frozenset({".jpg", ".jpeg"})
_MEBIBYTE = 2**20
_LABELS = len(LABEL_FOLDERS)


class AlignedPair(Protocol):
    """A photograph and its reconstruction by a decoder: two files, pixel on pixel."""

    @property
    def real(self) -> Path: ...

    @property
    def fake(self) -> Path: ...

    @property
    def decoder(self) -> str: ...


class Sample(TypedDict):
    """One crop, uint8 [size, size, 3] BGR, its label, and the place of its source's name."""

    frames: Image
    label: int
    source: int
    clean: NotRequired[Image]


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """What becomes of a picture on its way to a sample; what is not said here is in `DataConfig`.

    Attributes:
        policy: of the degradations; None for none.
        reduced_share: of the samples that show the picture reduced as a whole; it is degraded
            before, as the device reduces what it receives.
        clean: give the crop from before its degradations too.
        cache_mb: mebibytes of decoded pictures that one loading process keeps.
    """

    crop: int
    resize: int | None = None
    flip: bool = True
    policy: Policy | None = None
    first_compression: bool = True
    pairs_share: float = 0.5
    reduced_share: float = 0.0
    reduced_rows: tuple[int, int] = (256, 512)
    clean: bool = False
    cache_mb: int = 0
    seed: int = 0


class PictureSamples(Dataset[Sample]):
    """An endless, reproducible sequence of samples.

    Sample i has label i mod 2 and depends on the seed and i alone, not on who loads it. Samples
    2j and 2j + 1 are either both sides of a pair, in which crop, flip, degradations and all their
    random numbers agree, or two pictures of their own. Of a label, a source is drawn evenly, then
    one of its pictures; of the pairs, a decoder is drawn evenly. Pictures are of both labels, or
    none where there are pairs. `sources` are the names at the place that a sample's `source` says.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        pairs: Sequence[AlignedPair],
        settings: SampleSettings,
    ) -> None:
        self._draw = BalancedDraw(pictures) if pictures else None
        by_decoder: defaultdict[str, list[AlignedPair]] = defaultdict(list)
        for pair in pairs:
            by_decoder[pair.decoder].append(pair)
        self._decoders = [by_decoder[name] for name in sorted(by_decoder)]
        names = self._draw.pictures.source_names if self._draw else ()
        self.sources = (*names, *(n for n in sorted(by_decoder) if n not in names))
        self._places = {name: place for place, name in enumerate(self.sources)}
        share = settings.pairs_share if pictures else 1.0
        self._share = share if pairs else 0.0
        self._settings = settings
        self._cache = PictureCache(settings.cache_mb, self._read)

    def __getitem__(self, index: int) -> Sample:
        slot, label = divmod(index, _LABELS)
        seed = self._settings.seed
        common = np.random.default_rng((seed, slot))
        if common.random() < self._share:
            pairs = self._decoders[int(common.integers(len(self._decoders)))]
            pair = pairs[int(common.integers(len(pairs)))]
            path = pair.fake if label else pair.real
            return self._sample(path, label, self._places[pair.decoder], common)
        own = np.random.default_rng((seed, slot, 1 + label))
        assert self._draw is not None  # the share is 1 without pictures
        picture = self._draw.draw(label, own)
        return self._sample(picture.path, label, self._places[picture.source], own)

    def _sample(self, path: Path, label: int, source: int, rng: Generator) -> Sample:
        """All that is drawn here is drawn for both sides of a pair in the same order."""
        settings = self._settings
        chain = settings.policy.draw(rng) if settings.policy else Chain()
        at, flip = (rng.random(), rng.random()), rng.random() < 0.5
        reduced = rng.random() < settings.reduced_share
        rows = int(rng.integers(*settings.reduced_rows, endpoint=True))
        picture = self._cache.read(path)
        shorter = min(picture.shape[:2])
        size = settings.crop
        seen = max(size, round(size * shorter / rows)) if reduced else size
        part = part_at(picture, chain.needed(seen), at)
        if settings.first_compression and path.suffix.lower() not in _LOSSY_FILES:
            # Else compressed once against twice would be a label of its own. Last of what is
            # drawn, so that a pair of a JPEG and a lossless file still agrees in everything else.
            part = first_jpeg(part, rng)
        if settings.flip and flip:
            part = part[:, ::-1]

        def shown(crop: Image) -> Image:
            return crop if seen == size else resize_antialiased(crop, size, size)

        sample: Sample = {
            "frames": shown(chain.crop(part, seen)),
            "label": label,
            "source": source,
        }
        if settings.clean:
            sample["clean"] = shown(chain.clean_crop(part, seen))
        return sample

    def _read(self, path: Path) -> Image:
        return resized(read_image(path), self._settings.resize)


class PictureCache:
    """Reads pictures (path → uint8 [H, W, 3] BGR), and keeps the first of them up to `limit_mb`.

    Nothing is let go for another: when pictures are drawn evenly, no choice beats the first.
    """

    def __init__(self, limit_mb: int, read: Callable[[Path], Image] = read_image) -> None:
        self._left, self._read = limit_mb * _MEBIBYTE, read
        self._kept: dict[Path, Image] = {}

    def read(self, path: Path) -> Image:
        """The picture, not to be written to; a SourceError where it cannot be read."""
        if path in self._kept:
            return self._kept[path]
        image = self._read(path)
        image.setflags(write=False)
        if image.nbytes <= self._left:
            self._left -= image.nbytes
            self._kept[path] = image
        return image


class BatchSampler(Sampler[list[int]]):
    """Indices of endless samples, batch after batch, of which each process takes its share.

    `batch` counts samples of a forward pass over all processes, a multiple of twice their number,
    so that both sides of a pair are in one share. A resumed trainer goes on after its last step.
    """

    def __init__(self, batch: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        self._batch, self._start, self._rank, self._own = batch, start, rank, batch // world

    def __iter__(self) -> Iterator[list[int]]:
        for step in count(self._start):
            first = step * self._batch + self._rank * self._own
            yield list(range(first, first + self._own))


def endless(
    samples: Dataset[Sample], batch: int, trainer: Trainer | None, workers: int = 0
) -> DataLoader[dict[str, Tensor]]:
    """Batches without end of samples for any index, from the trainer's next step on."""
    sampler = BatchSampler(batch)
    if trainer is not None:
        start = trainer.global_step * trainer.accumulate_grad_batches
        sampler = BatchSampler(batch, start, trainer.global_rank, trainer.world_size)
    return DataLoader(
        samples,  # type: ignore[arg-type]  # collated makes the batches of samples
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collated,
        worker_init_fn=leave_signals_to_parent,
    )


def collated(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A batch: frames and clean uint8 [N, H, W, 3] BGR, label float32 [N], source int64 [N]."""
    batch = {
        "frames": torch.from_numpy(np.stack([sample["frames"] for sample in samples])),
        "label": torch.tensor([sample["label"] for sample in samples], dtype=torch.float32),
        "source": torch.tensor([sample["source"] for sample in samples]),
    }
    if "clean" in samples[0]:
        batch["clean"] = torch.from_numpy(np.stack([sample["clean"] for sample in samples]))
    return batch
