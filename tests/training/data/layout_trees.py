"""Data sets of tiny made-up pictures in the layouts of published ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from tests.training.pictures import smooth_noise

PAIR = ("0_real", "1_fake")

TREES: dict[str, tuple[str, ...]] = {
    "plain": ("0_real/camera", "1_fake/made"),
    "splits": tuple(f"{s}/{x}/some" for s in ("train", "val", "test") for x in PAIR),
    "wildrf": (
        *(f"{split}/{x}" for split in ("train", "val") for x in PAIR),
        *(f"test/{platform}/{x}" for platform in ("facebook", "reddit") for x in PAIR),
    ),
    "forensynth": (
        *(f"train/progan/{c}/{x}" for c in ("car", "cat", "horse") for x in PAIR),
        *(f"test/progan/{c}/{x}" for c in ("car", "cat") for x in PAIR),
        *(f"test/biggan/{x}" for x in PAIR),
    ),
    "ufd": (
        "imagenet/0_real",
        "laion/0_real",
        "guided/1_fake",
        "ldm_200/1_fake",
        "dalle/1_fake",
    ),
}
"""Layout → its folders with pictures."""


def plant(root: Path, folders: Iterable[str], each: int = 2) -> Path:
    """Put pictures of 32 px into folders, no two alike; gives the root."""
    rng = np.random.default_rng(0)
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for index in range(each):
            PillowImage.fromarray(smooth_noise(rng, 32)).save(root / folder / f"{index}.png")
    return root
