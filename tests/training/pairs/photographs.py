"""Made-up photographs for pairs: smooth blocks with a little noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from tests.training.pictures import smooth_noise


def write_photographs(data: Path, count: int = 6, side: int = 64) -> Path:
    """Write DATA/0_real/{camera-a,camera-b}/… as PNG; gives DATA."""
    rng = np.random.default_rng(0)
    for index in range(count):
        folder = data / "0_real" / ("camera-a", "camera-b")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(smooth_noise(rng, side)).save(folder / f"{index}.png")
    return data
