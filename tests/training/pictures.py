"""Made-up labelled pictures that differ by one thing: the fakes carry a two-pixel chequerboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from edge.labels import STANDARD
from edge.types import Image
from training.data.folders import PictureFolder, find_pictures, index_pictures, label_parts
from training.data.ledger import Ledger

SIDE = 64
ON_CPU = ("--workers", "0", "--threads", "1", "--device", "cpu", "--licence", "none",
          "--experiments", "none")  # fmt: skip
"""Flags of a training that is small and leaves no trace."""


def smooth_noise(rng: np.random.Generator, side: int = SIDE) -> Image:
    """Blocks of random colour with a little noise, uint8 [side, side, 3]."""
    blocks = rng.integers(40, 215, (side // 16, side // 16, 3)).repeat(16, 0).repeat(16, 1)
    noisy: Image = np.clip(blocks + rng.normal(0, 4, blocks.shape), 0, 255).astype(np.uint8)
    return noisy


def with_trace(image: Image, height: int = 25) -> Image:
    """The image plus a chequerboard of period two, as a bad up-sampling leaves it."""
    trace = np.indices(image.shape[:2]).sum(0)[..., None] % 2 * height
    traced: Image = np.clip(image.astype(int) + trace, 0, 255).astype(np.uint8)
    return traced


def write_split(split: Path, per_source: int, seed: int, side: int = SIDE) -> None:
    """Write SPLIT/0_real/{camera-a,camera-b} and SPLIT/1_fake/{made-a,made-b}, as PNG and JPEG."""
    rng = np.random.default_rng(seed)
    for folder, sources in (("0_real", ("camera-a", "camera-b")), ("1_fake", ("made-a", "made-b"))):
        for source in sources:
            (split / folder / source).mkdir(parents=True)
            for index in range(per_source):
                image = smooth_noise(rng, side)
                image = with_trace(image) if folder == "1_fake" else image
                path = split / folder / source / f"{index}.{'jpg' if index % 2 else 'png'}"
                PillowImage.fromarray(image).save(path, quality=98, subsampling=0)


def write_data(folder: Path, config: str, train: int, val: int) -> Path:
    """Write train/, val/ with so many pictures of each source, and a configuration as c.yaml."""
    write_split(folder / "train", per_source=train, seed=0)
    write_split(folder / "val", per_source=val, seed=1)
    (folder / "c.yaml").write_text(config)
    return folder


def index_folder(split: Path, smallest: int = 1) -> PictureFolder:
    """The pictures of a folder that holds `0_real` and `1_fake`."""
    parts = label_parts(split, STANDARD)
    with Ledger(None, split) as ledger:
        return index_pictures(find_pictures(parts), parts, ledger, smallest)
