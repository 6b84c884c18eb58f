"""Photographs of a labelled folder, and crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from torch.utils.data import Dataset

from edge.errors import SourceError
from edge.labels import LabelFolders
from edge.sources.images import read_image
from edge.types import Image
from training.data.crops import part_at
from training.data.folders import (
    Picture,
    find_pictures,
    identity,
    index_pictures,
    label_parts,
)
from training.data.ledger import Ledger
from training.data.samples import PictureCache, Sample
from training.progress import print_rejected, progress_bar

KEPT_SIDE, KEPT_MB = 256, 512
"""Of what is kept in memory of each photograph, in pixels (192 KiB), and of all, in MiB."""

HELD_OUT_SHARE, MOST_HELD_OUT = 16, 32


def find_photographs(
    data: Path, smallest: int, out: Console, labels: LabelFolders
) -> list[Picture]:
    """Pictures under `DATA/0_real`, or as `labels` calls it, with sides of `smallest` pixels and
    more, by path.

    Raises:
        SourceError: there is no such folder, or no picture in it that can be used.
    """
    parts = [part for part in label_parts(data, labels) if part.label == 0]
    if not parts:
        names = labels.names(0)
        splits = sorted({p.parent.name for name in names for p in data.glob(f"*/{name}")})
        hint = f" Name one of its splits: {', '.join(splits)}." if splits else ""
        raise SourceError(
            f"{data} has no folder {' or '.join(names)}, in which photographs are expected as "
            f"{names[0]}/<source>/….{hint}"
        )
    pictures = find_pictures(parts)
    with Ledger(None, data) as ledger, progress_bar(out) as progress:
        task = progress.add_task("reading photographs", total=len(pictures), note="")
        found = index_pictures(
            pictures, parts, ledger, smallest, on_file=lambda: progress.advance(task)
        )
    print_rejected(out, [one.reason for one in found.rejected])
    return list(found.pictures)


def region(picture: Picture, data: Path, side: int, multiple: int, seed: int) -> Image:
    """A part of a photograph, uint8 [H, W, 3] BGR, at a random place, never resized: at most `side`
    high and wide, both multiples of `multiple`; the picture is no smaller than that.
    """
    image = read_image(picture.path)
    rng = np.random.default_rng((seed, int(identity(picture, data), 16)))
    height, width = (min(n, side) // multiple * multiple for n in image.shape[:2])
    top = int(rng.integers(image.shape[0] - height, endpoint=True))
    left = int(rng.integers(image.shape[1] - width, endpoint=True))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def hold_out(data: Path, pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Those to learn from, and one in sixteen, at most 32 and at least one, that is held out.

    Which ones follows from their paths within `data` alone; a SourceError where there are fewer
    than two.
    """
    if len(pictures) < 2:
        raise SourceError(
            f"{data} has {len(pictures)} photographs that can be used, where two or more are "
            "needed: one to learn from and one held out."
        )
    count = max(1, min(MOST_HELD_OUT, len(pictures) // HELD_OUT_SHARE))
    # Identities are hashes, so this is a fair draw.
    held = set(sorted(identity(picture, data) for picture in pictures)[:count])
    sides: tuple[list[Picture], list[Picture]] = ([], [])
    for picture in pictures:
        sides[identity(picture, data) in held].append(picture)
    return sides


class PhotographCrops(Dataset[Sample]):
    """Crops of photographs without end; item i depends on the seed and i alone."""

    def __init__(self, data: Path, pictures: Sequence[Picture], side: int, seed: int) -> None:
        self._paths, self._side, self._seed = [p.path for p in pictures], side, seed
        known = {picture.path: picture for picture in pictures}
        self._cache = PictureCache(
            KEPT_MB, lambda path: region(known[path], data, KEPT_SIDE, 8, seed)
        )

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self._seed, index))
        image = self._cache.read(self._paths[int(rng.integers(len(self._paths)))])
        crop = part_at(image, self._side, (rng.random(), rng.random()))
        return {"frames": crop, "label": 0, "source": 0}
