"""The faces of a training as Lightning takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edge.errors import SourceError, UsageError
from edge.sources.images import read_image
from edge.types import Image
from training.data.crops import resized
from training.data.samples import PictureCache, Sample, endless, first_readable, loader
from training.faces.augment import Augment
from training.faces.config import FacesConfig
from training.faces.sets import LABELS, FaceItem, FaceSet, Split

BOTH = "both"
SOURCES = {"base": "faceforensics", "augment": "youtube"}
"""Validation set → what the source of its faces is called where sets were put together."""

Batches = DataLoader[dict[str, Tensor]]


class FaceData(pl.LightningDataModule):
    """Batches of faces of one side without end, and validation faces by set.

    Batches have the keys of `training.data.module.PictureData`; every training face comes once an
    epoch, in another order, the last batch filled up with the first faces. Sample i depends on the
    seed and i alone.

    Args:
        config: of the training.
        sets: any of `base`, `augment` and `both`; the last stands for the two others where they
            are absent, and they for it.
        workers: loading processes; 0 for none.

    Attributes:
        train: faces to learn from.
        val: `base`, `augment` or both of them → faces to judge on.

    Raises:
        UsageError: the set to learn from is not among them.
        SourceError: a set lacks faces of a label.
    """

    def __init__(self, config: FacesConfig, sets: Mapping[str, FaceSet], workers: int = 0) -> None:
        super().__init__()
        self._config, self._workers = config, workers
        train = _faces(sets, config.train_set, "train")
        if train is None:
            needed = f"--{config.train_set}, or --both"
            if config.train_set == BOTH:
                needed = "--base and --augment, or --both"
            given = " and ".join(sets) or "none"
            raise UsageError(f"train_set {config.train_set} needs {needed}; given: {given}.")
        found = {name: _faces(sets, name, "val") for name in SOURCES}
        self.val: dict[str, list[FaceItem]] = {name: x for name, x in found.items() if x}
        if not self.val:
            raise SourceError("no set has faces for validation. Prepare one with a split val.")
        for name, faces in (
            ("training", train),
            *((f"{n} validation", x) for n, x in self.val.items()),
        ):
            _require_both(name, faces)
        self.train = _share_of(train, config.sample_share, config.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every training face comes."""
        return self._config.steps_per_epoch(len(self.train))

    def samples(self) -> FaceSamples:
        """What batches are made of; item i for any i from 0 on."""
        return FaceSamples(self.train, self._config, self._workers)

    def train_dataloader(self) -> Batches:
        """Batches without end, from the trainer's next step on."""
        batch = self._config.batch // self._config.accumulate
        return endless(self.samples(), batch, self.trainer, self._workers)

    def val_dataloader(self) -> list[Batches]:
        """A loader for each set, in the order of `val`; a batch's `source` is its set's place."""
        return [
            loader(
                ValidationFaces(faces, self._config.size, place),
                self._workers,
                batch_size=min(self._config.batch, 64),
            )
            for place, faces in enumerate(self.val.values())
        ]


class FaceSamples(Dataset[Sample]):
    """Sample i: a face, changed at random; every face comes once an epoch, in another order."""

    def __init__(self, faces: Sequence[FaceItem], config: FacesConfig, workers: int = 0) -> None:
        self._faces, self._config = faces, config
        self._per_epoch = config.steps_per_epoch(len(faces)) * config.batch
        self._augment = Augment(config.augment) if config.augment else None
        cache_mb = config.cache_mb // max(workers, 1)
        self._cache = PictureCache(cache_mb, partial(read_face, size=config.size))
        self._order = (-1, np.empty(0, dtype=np.intp))

    def __getitem__(self, index: int) -> Sample:
        epoch, step = divmod(index, self._per_epoch)
        if self._order[0] != epoch:
            rng = np.random.default_rng((self._config.seed, epoch))
            self._order = (epoch, rng.permutation(len(self._faces)))
        return first_readable(lambda lost: self._sample(index, step + lost))

    def _sample(self, index: int, step: int) -> Sample:
        face = self._faces[int(self._order[1][step % len(self._faces)])]
        image = self._cache.read(face.path)
        if self._augment is not None:
            seeds = np.random.SeedSequence((self._config.seed, index))
            image = self._augment(image, int(seeds.generate_state(1)[0]))
        source = [*SOURCES.values()].index(face.source)
        return {"frames": image, "label": face.label, "source": source}


class ValidationFaces(Dataset[Sample]):
    """Faces as the model sees them, in their order; `source` of every sample is `place`."""

    def __init__(self, faces: Sequence[FaceItem], size: int, place: int = 0) -> None:
        self._faces, self._size, self._place = faces, size, place

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> Sample:
        face = self._faces[index]
        frames = read_face(face.path, self._size)
        return {"frames": frames, "label": face.label, "source": self._place}


def read_face(path: Path, size: int) -> Image:
    """A prepared face, uint8 [size, size, 3] BGR, resized as the device does.

    Raises:
        SourceError: it cannot be read.
    """
    return resized(read_image(path), size)


def _faces(sets: Mapping[str, FaceSet], name: str, split: Split) -> list[FaceItem] | None:
    """The faces of a set's split; None where they can be had of no set."""
    if name in sets:
        return list(sets[name].items(split))
    if name == BOTH:
        parts = [_faces(sets, part, split) for part in SOURCES if part in sets]
        return [face for part in parts for face in part or ()] if len(parts) == 2 else None
    if BOTH in sets:
        return [face for face in sets[BOTH].items(split) if face.source == SOURCES[name]]
    return None


def _require_both(what: str, faces: Sequence[FaceItem]) -> None:
    for word, label in LABELS.items():
        if not any(face.label == label for face in faces):
            raise SourceError(
                f"the {what} set has no {word} faces. Expected some of both labels: see what "
                "'patchwatch data prepare' said of it."
            )


def _share_of(faces: Sequence[FaceItem], share: float, seed: int) -> Sequence[FaceItem]:
    """A share of the faces of each label, at least one, drawn by the seed, in their order."""
    if share == 1:
        return faces
    kept: list[int] = []
    for label in LABELS.values():
        places = [place for place, face in enumerate(faces) if face.label == label]
        rng = np.random.default_rng((seed, label))
        kept += rng.permutation(places)[: max(1, int(share * len(places)))].tolist()
    return [faces[place] for place in sorted(kept)]
