"""Mean features of looks at pictures, computed once and kept in a memory-mapped file.

A row's key is the digest of the picture's content and of all that was done to it, and the file's
name that of the trunk: another head, strength or selection of pictures computes nothing twice, and
a killed run loses fewer than `BLOCK` rows.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset
from typing_extensions import Self

from edge.errors import SinkError
from edge.regions import cut, parse_region, resize_antialiased
from edge.sources.images import read_image
from edge.types import Batch, Image
from training.data.crops import centre_crop, normalised, part_at, resized
from training.data.samples import loader
from training.degrade import COLUMNS, Chain, Policy, first_jpeg
from training.faces.blend import points_of_crop, self_blended
from training.models import PatchModel
from training.probe.config import ProbeConfig, ViewConfig

BLOCK = 256
"""Rows written at once."""

VERSION = 1
"""Of the way from a picture to its features; another one invalidates the rows."""

_LOSSY_FILES = frozenset({".jpg", ".jpeg"})

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """A degraded training sample.

    Called with a picture and its file, it gives crops of one size, uint8 [h, w, 3] BGR, whose
    features are averaged. Its `repr` says everything that they depend on.
    """

    view: ViewConfig
    policy: Policy | None
    first_compression: bool
    flip: bool
    seed: tuple[int, ...]
    blended: bool = False

    def __call__(self, image: Image, path: Path) -> list[Image]:
        rng = np.random.default_rng(self.seed)
        if self.view.blended:
            both = self_blended([image], [points_of_crop(len(image))], rng)
            image = both[self.blended][0]
        at, mirrored, share = (rng.random(), rng.random()), rng.random() < 0.5, rng.random()
        image = _reduced(image, self.view.shorter_side, share)
        chain = self.policy.draw(rng) if self.policy else Chain()
        size = self.view.crop
        if size is not None:
            size = chain.left_of(min(image.shape[:2]), size)
            image = part_at(image, chain.needed(size), at)
        if self.first_compression and path.suffix.lower() not in _LOSSY_FILES:
            image = first_jpeg(image, rng)
        if self.flip and mirrored:
            image = image[:, ::-1]
        image = np.ascontiguousarray(image)
        if min(image.shape[:2]) >= chain.needed(1):
            image = chain(image) if size is None else chain.crop(image, size)
        return [crop.image for crop in cut(image, parse_region(self.view.region))]


@dataclass(frozen=True, slots=True)
class Reported:
    """A picture under a column of the report, as the device looks at it; called as `Sample`.

    It is first resized and cropped as `training.validation.View` says.
    """

    column: str
    region: str
    resize: int | None = None
    crop: int | None = None

    def __call__(self, image: Image, path: Path) -> list[Image]:
        image = resized(image, self.resize)
        image = centre_crop(image, self.crop) if self.crop else image
        return [c.image for c in cut(COLUMNS[self.column](image), parse_region(self.region))]


def samples_of(config: ProbeConfig, digest: str, label: int = 0) -> tuple[Sample, ...]:
    """The samples of a picture whose random numbers follow from the seed and a content's digest; of
    a view with blended faces the target and then the fake, of a real picture alone.
    """
    return tuple(
        Sample(
            view,
            config.policy,
            config.data.first_compression,
            config.data.flip,
            seed=(config.seed, number, int(digest[:16], 16)),
            blended=blended,
        )
        for view in config.views
        if not (view.blended and label)
        for number in range(view.count)
        for blended in ((False, True) if view.blended else (False,))
    )


Look = Sample | Reported


@dataclass(frozen=True, slots=True)
class Job:
    """The looks at one file, whose content has this digest."""

    path: Path
    digest: str
    looks: tuple[Look, ...]

    def digests(self) -> list[bytes]:
        """A key for each look, 32 ASCII characters."""
        texts = (f"{VERSION} {self.digest} {look!r}" for look in self.looks)
        return [hashlib.sha256(text.encode()).hexdigest()[:32].encode() for text in texts]


class FeatureStore:
    """The rows of one trunk; a context manager that owns its file.

    Args:
        folder: made where it is absent; may be shared by runs, one after another.
        model: in evaluation mode, on the CPU; its head reads nothing but mean features.

    Raises:
        SinkError: the file cannot be written, or another process is writing it.
    """

    def __init__(self, folder: Path, model: PatchModel) -> None:
        self._model = model
        self._row = np.dtype([("key", "S32"), *self._columns()])
        self.path = folder / f"{self._digest()}.rows"
        with ExitStack() as stack:
            self._file = stack.enter_context(_opened(self.path))
            whole = self._file.tell() // self._row.itemsize
            self._file.truncate(whole * self._row.itemsize)  # what a killed run left half written
            self._places = {key: place for place, key in enumerate(self._rows()["key"].tolist())}
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def compute(
        self, jobs: Sequence[Job], workers: int, on_rows: Callable[[int], None] = lambda n: None
    ) -> None:
        """Compute the rows that are not there yet, with so many processes that read and degrade.

        `on_rows` is called with the number of looks that are done, those found included.

        Raises:
            SourceError: a file cannot be read any more.
        """
        todo = []
        for job in jobs:
            keyed = zip(job.looks, job.digests(), strict=True)
            if missing := tuple(look for look, key in keyed if key not in self._places):
                todo.append(Job(job.path, job.digest, missing))
        on_rows(sum(len(job.looks) for job in jobs) - sum(len(job.looks) for job in todo))
        block: list[tuple[Any, ...]] = []
        try:
            for keys, crops in loader(_Looks(todo), workers, batch_size=None):
                for key, images in zip(keys, crops, strict=True):
                    block.append((key, *self._measured(images)))
                on_rows(len(keys))
                if len(block) >= BLOCK:
                    self._append(block)
                    block = []
        finally:
            self._append(block)

    def take(self, jobs: Sequence[Job]) -> Features:
        """The features of all looks, job by job: float32 [looks, channels]."""
        return np.ascontiguousarray(self._found(jobs)["features"])

    def _columns(self) -> list[tuple[Any, ...]]:
        """What a row holds beside its key."""
        return [("features", "<f4", (self._model.fc.in_features,))]

    def _digest(self) -> str:
        """Of all weights that the rows depend on."""
        return _trunk_digest(self._model)

    def _measured(self, images: Batch) -> tuple[Any, ...]:
        """The columns of a row, from uint8 [N, H, W, 3] BGR."""
        return (mean_features(self._model, images).mean(0),)

    def _found(self, jobs: Sequence[Job]) -> Any:
        return self._rows()[[self._places[key] for job in jobs for key in job.digests()]]

    def _rows(self) -> Any:
        if not self.path.stat().st_size:
            return np.empty(0, self._row)
        return np.memmap(self.path, self._row, mode="r")

    def _append(self, block: Sequence[tuple[Any, ...]]) -> None:
        rows = np.array(block, dtype=self._row) if block else np.empty(0, self._row)
        try:
            self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            raise SinkError(f"{self.path} cannot be written: {error.strerror}.") from error
        # By the file: of two equal samples in a block both are rows, and one is a key.
        start = self._file.tell() // self._row.itemsize - len(rows)
        self._places |= {row[0]: start + i for i, row in enumerate(block)}


def _opened(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SinkError(f"{path} is in use by another run. Name another folder.") from error
    return file


@torch.no_grad()
def mean_features(model: PatchModel, crops: Batch) -> Features:
    """The mean over a picture of each feature: uint8 [N, H, W, 3] BGR → float32 [N, channels]."""
    pixels = normalised(crops).contiguous(memory_format=torch.channels_last)
    maps = model.features(model.preprocess(pixels))
    means: Features = F.adaptive_avg_pool2d(maps, 1).flatten(1).numpy()
    return means


class _Looks(Dataset[Any]):
    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> tuple[list[bytes], list[Batch]]:
        job = self._jobs[index]
        image = read_image(job.path)
        return job.digests(), [np.stack(look(image, job.path)) for look in job.looks]


def _reduced(image: Image, sides: tuple[int, int] | None, share: float) -> Image:
    if sides is None:
        return image
    low, high = np.log(sides)
    shorter, least = round(float(np.exp(low + share * (high - low)))), min(image.shape[:2])
    if shorter >= least:
        return image
    height, width = (max(round(n * shorter / least), 1) for n in image.shape[:2])
    return resize_antialiased(image, height, width)


def _trunk_digest(model: PatchModel) -> str:
    digest = hashlib.sha256(f"{model.architecture} {model.preprocessing}".encode())
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith("fc."):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
