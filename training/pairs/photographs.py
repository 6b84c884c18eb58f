"""Photographs of a labelled folder, and crops of them held in memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from edge.errors import SourceError
from edge.sources.images import read_image
from edge.types import Image
from training.data.crops import random_crop
from training.data.folders import LABEL_FOLDERS, Part, Picture, Rejected, find_pictures
from training.data.samples import Sample

KEPT_SIDE = 256
"""Of what is kept in memory of each photograph, in pixels; 192 KiB."""

HELD_OUT_SHARE = 16
MOST_HELD_OUT = 32


def find_photographs(data: Path) -> list[Picture]:
    """Pictures under `DATA/0_real`, in the order of their paths; none is opened.

    Raises:
        SourceError: there is no such folder, or no picture in it.
    """
    folder = data / LABEL_FOLDERS[0]
    if not folder.is_dir():
        splits = [p.parent.name for p in sorted(data.glob(f"*/{LABEL_FOLDERS[0]}"))]
        hint = f" Name one of its splits: {', '.join(splits)}." if splits else ""
        raise SourceError(
            f"{data} has no folder {LABEL_FOLDERS[0]}, in which photographs are expected as "
            f"{LABEL_FOLDERS[0]}/<source>/….{hint}"
        )
    pictures = list(find_pictures([Part(folder, 0)]))
    if not pictures:
        raise SourceError(f"{folder} has no picture. Put photographs there, in a folder a source.")
    return pictures


def evenly(pictures: Sequence[Picture], limit: int | None) -> list[Picture]:
    """At most `limit` of them, as evenly over sources as these go, in their first order."""
    if limit is None or limit >= len(pictures):
        return list(pictures)
    met: Counter[str] = Counter()
    keys = []
    for place, picture in enumerate(pictures):
        keys.append((met[picture.source], place))
        met[picture.source] += 1
    return [pictures[place] for place in sorted(place for _, place in sorted(keys)[:limit])]


def describe(pictures: Sequence[Picture]) -> str:
    """How many photographs of which sources, in one line."""
    counts = Counter(picture.source for picture in pictures)
    return f"{len(pictures)} photographs ({', '.join(f'{n} {name}' for name, n in counts.items())})"


def identity(picture: Picture, data: Path) -> str:
    """Twelve hex digits of a photograph's path within the data: the same on every machine."""
    inside = picture.path.relative_to(data).as_posix()
    return hashlib.blake2b(inside.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def region(image: Image, side: int, multiple: int, rng: np.random.Generator) -> Image:
    """A part of uint8 [H, W, 3] at a random place, never resized: at most `side` high and wide,
    both multiples of `multiple`; a SourceError where the picture is smaller than that.
    """
    height, width = (min(n, side) // multiple * multiple for n in image.shape[:2])
    if not height or not width:
        raise SourceError(
            f"{image.shape[1]}×{image.shape[0]} pixels, smaller than {multiple}×{multiple}."
        )
    top = int(rng.integers(image.shape[0] - height, endpoint=True))
    left = int(rng.integers(image.shape[1] - width, endpoint=True))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Regions of photographs in memory, uint8 [H, W, 3] BGR each: to draw crops from, and never
    trained on; and the files that are left out.
    """

    learned: tuple[Image, ...]
    held_out: tuple[Image, ...]
    rejected: tuple[Rejected, ...]


class PoolCrops(Dataset[Sample]):
    """Crops of a pool without end, as `training.data.samples.collated` takes them.

    Item i depends on the seed and i alone.
    """

    def __init__(self, pool: Pool, side: int, seed: int) -> None:
        self._pool, self._side, self._seed = pool, side, seed

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self._seed, index))
        photograph = self._pool.learned[int(rng.integers(len(self._pool.learned)))]
        return {"frames": random_crop(photograph, self._side, rng), "label": 0, "source": 0}


def read_pool(
    data: Path, pictures: Sequence[Picture], smallest: int, seed: int, on_file: Callable[[], None]
) -> Pool:
    """Decode photographs once, and keep a region of each that is `smallest` pixels high and wide.

    One in sixteen, though at most 32 and at least one, is held out; which ones follows from their
    paths within `data` alone.

    Raises:
        SourceError: fewer than two can be used.
    """
    regions: dict[str, Image] = {}
    rejected: list[Rejected] = []
    for picture in pictures:
        name = identity(picture, data)
        try:
            regions[name] = _region(read_image(picture.path), smallest, name, seed)
        except SourceError as error:
            rejected.append(Rejected(picture.path, _named(picture.path, error)))
        on_file()
    if len(regions) < 2:
        raise SourceError(
            f"{data} has {len(regions)} photographs of at least {smallest}×{smallest} pixels that "
            "can be read, where two or more are needed: one to learn from and one held out."
        )
    count = max(1, min(MOST_HELD_OUT, len(regions) // HELD_OUT_SHARE))
    held_out = set(sorted(regions)[:count])  # names are hashes, so this is a fair draw
    learned = tuple(image for name, image in regions.items() if name not in held_out)
    return Pool(learned, tuple(regions[name] for name in sorted(held_out)), tuple(rejected))


def _region(image: Image, smallest: int, name: str, seed: int) -> Image:
    if min(image.shape[:2]) < smallest:
        raise SourceError(f"{image.shape[1]}×{image.shape[0]} pixels, smaller than {smallest}.")
    return region(image, KEPT_SIDE, 8, np.random.default_rng((seed, int(name, 16))))


def _named(path: Path, error: SourceError) -> str:
    text = str(error)
    return text if text.startswith(str(path)) else f"{path}: {text}"
