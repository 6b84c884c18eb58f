from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.types import Image
from training.data.cache import PictureCache


def test_pictures_are_kept_up_to_the_bound() -> None:
    reads: list[str] = []

    def read(path: Path) -> Image:
        reads.append(path.name)
        return np.zeros((512, 512, 3), np.uint8)  # three quarters of a mebibyte

    cache = PictureCache(1, read)
    for name in ("a", "b", "a", "b"):
        assert cache.read(Path(name)).shape == (512, 512, 3)
    assert reads == ["a", "b", "b"]
