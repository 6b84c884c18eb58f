"""Training samples: crops drawn evenly over classes and sources, then degraded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from typing_extensions import NotRequired

from edge.errors import SourceEnded, SourceError
from edge.labels import LABEL_FOLDERS
from edge.regions import resize_antialiased
from edge.sources.images import read_image
from edge.types import Image
from training.data.config import DataConfig
from training.data.crops import part_at, resized
from training.data.folders import Picture
from training.degrade import Chain, Policy, first_jpeg
from training.loading_process import leave_signals_to_parent

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

_LOSSY_FILES = frozenset({".jpg", ".jpeg"})
_MEBIBYTE = 2**20
_DRAWS = 10
"""Files that may be unreadable one after the other; then it is no single file."""

_LABELS = len(LABEL_FOLDERS)


class Sample(TypedDict):
    """One crop, uint8 [size, size, 3] BGR, its label, and the place of its source's name; where it
    was judged before, a teacher's logit; why files that were drawn before it could not be read."""

    frames: Image
    label: int
    source: int
    clean: NotRequired[Image]
    logit: NotRequired[float]
    lost: NotRequired[list[str]]


class PictureSamples(Dataset[Sample]):
    """An endless, reproducible sequence of samples.

    Sample i has label i mod 2 and depends on the seed and i alone, not on who loads it. Of a
    label, a source is drawn evenly, then one of its pictures. `sources` are the names at the place
    that a sample's `source` says. Where a file cannot be read any more, another is drawn.

    Args:
        pictures: of both labels.
        data: how samples are cut; `cache_mb` is for each process.
        policy: of the degradations; None for none.
        seed: of everything that is drawn.
        clean: give the crop from before its degradations too; the policy must not resize.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        data: DataConfig,
        policy: Policy | None = None,
        seed: int = 0,
        clean: bool = False,
    ) -> None:
        groups: tuple[dict[str, list[Picture]], ...] = tuple({} for _ in range(_LABELS))
        for picture in sorted(pictures, key=lambda p: p.source):  # a draw needs them in one order
            groups[picture.label].setdefault(picture.source, []).append(picture)
        self._drawn = [list(group.values()) for group in groups]
        self.sources = tuple(sorted({picture.source for picture in pictures}))
        self._data, self._policy, self._seed, self._clean = data, policy, seed, clean
        self._cache = PictureCache(
            data.cache_mb, lambda path: resized(read_image(path), data.resize)
        )

    def __getitem__(self, index: int) -> Sample:
        return first_readable(lambda lost: self._draw(index, (lost,) if lost else ()))

    def _draw(self, index: int, attempt: tuple[int, ...]) -> Sample:
        slot, label = divmod(index, _LABELS)
        rng = np.random.default_rng((self._seed, slot, 1 + label, *attempt))
        source = self._drawn[label][int(rng.integers(len(self._drawn[label])))]
        picture = source[int(rng.integers(len(source)))]
        path, place = picture.path, self.sources.index(picture.source)
        return self.cut(self._cache.read(path), path.suffix, label, place, rng)

    def cut(self, picture: Image, suffix: str, label: int, source: int, rng: Generator) -> Sample:
        """A sample of a picture, whose file's name ends in `suffix`."""
        data = self._data
        chain = self._policy.draw(rng) if self._policy else Chain()
        at, flip = (rng.random(), rng.random()), rng.random() < 0.5
        reduced = rng.random() < data.reduced_share
        rows = int(rng.integers(*data.reduced_rows, endpoint=True))
        size = data.crop
        # A reduced one is degraded before, as the device reduces what it receives.
        seen = max(size, round(size * min(picture.shape[:2]) / rows)) if reduced else size
        part = part_at(picture, chain.needed(seen), at)
        if data.first_compression and suffix.lower() not in _LOSSY_FILES:
            # Else compressed once against twice would be a label of its own.
            part = first_jpeg(part, rng)
        if data.flip and flip:
            part = part[:, ::-1]

        def shown(crop: Image) -> Image:
            return crop if seen == size else resize_antialiased(crop, size, size)

        sample: Sample = {
            "frames": shown(chain.crop(part, seen)),
            "label": label,
            "source": source,
        }
        if self._clean:
            sample["clean"] = shown(chain.clean_crop(part, seen))
        return sample


def first_readable(draw: Callable[[int], Sample]) -> Sample:
    """The first of some draws (how many were `lost` before → sample) whose file can be read.

    Raises:
        SourceError: no draw gives one, so that more than a file is gone.
        SourceEnded: that what is drawn from has ended.
    """
    lost: list[str] = []
    while True:
        try:
            sample = draw(len(lost))
        except SourceEnded:
            raise
        except SourceError as error:
            lost.append(str(error))
            if len(lost) == _DRAWS:
                raise
        else:
            return {**sample, "lost": lost} if lost else sample


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
    so that a share has as many of both labels. A resumed trainer goes on after its last step.
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
    return loader(samples, workers, batch_sampler=sampler)


def loader(dataset: Dataset[Any], workers: int, **options: Any) -> DataLoader[Any]:
    """The loader of every command, with so many processes; other options are of torch's. With
    `batch_size=None` items come as they are, else samples as `collated`.
    """
    single = options.get("batch_size", 1) is None
    return DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=_as_it_is if single else collated,
        worker_init_fn=leave_signals_to_parent,
        **options,
    )


def _as_it_is(item: Any) -> Any:  # arrays, where torch's own would make tensors of them
    return item


def collated(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A batch: frames, clean uint8 [N, H, W, 3] BGR; label, logit float32 [N]; source int64 [N];
    `lost` as of a sample, of all of them.
    """
    batch = {
        "frames": torch.from_numpy(np.stack([sample["frames"] for sample in samples])),
        "label": torch.tensor([sample["label"] for sample in samples], dtype=torch.float32),
        "source": torch.tensor([sample["source"] for sample in samples]),
    }
    if "clean" in samples[0]:
        batch["clean"] = torch.from_numpy(np.stack([sample["clean"] for sample in samples]))
    if "logit" in samples[0]:
        batch["logit"] = torch.tensor([sample["logit"] for sample in samples], dtype=torch.float32)
    if lost := [reason for sample in samples for reason in sample.get("lost", ())]:
        batch["lost"] = lost  # type: ignore[assignment]  # the one entry that is no tensor
    return batch
