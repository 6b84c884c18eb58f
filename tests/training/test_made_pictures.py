from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge.errors import SinkError
from edge.sources.images import read_image
from edge.types import Image
from training.data.folders import index_folder
from training.made_pictures import CAMERAS, GENERATORS, write_split


def test_a_split_has_both_labels_and_every_source(tmp_path: Path) -> None:
    write_split(tmp_path / "val", per_camera=2, side=64, seed=0)
    found = index_folder(tmp_path / "val", smallest=64)
    assert found.sources(0) == dict.fromkeys(sorted(CAMERAS), 2)
    assert found.sources(1) == dict.fromkeys(sorted(GENERATORS), 4)


def test_the_seed_makes_the_pictures(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_split(tmp_path / folder, per_camera=1, side=32, seed=seed)
    a, b, c = (read_image(tmp_path / n / "0_real" / "grainy" / "0.png") for n in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_decoder_keeps_the_picture_and_leaves_a_trace(generator: str) -> None:
    image = CAMERAS["textured"](np.random.default_rng(0), 64)
    fake = GENERATORS[generator](image)
    assert fake.shape == image.shape
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(fake[inner].astype(int) - image[inner].astype(int)).mean() < 12
    ratios = [made / taken for made, taken in zip(phases(fake), phases(image), strict=True)]
    assert max(ratios) > 5


def phases(image: Image) -> tuple[float, float]:
    """How unlike even and odd columns are, 0..1: in brightness, and in the step to the next."""
    levels = image.astype(float)
    return unlike(levels), unlike(np.abs(np.diff(levels, axis=1)))


def unlike(columns: npt.NDArray[np.float64]) -> float:
    even, odd = columns[:, ::2].mean(), columns[:, 1::2].mean()
    return float(abs(even - odd) / (even + odd))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot be written"):
        write_split(tmp_path / "file" / "val", per_camera=1, side=32, seed=0)
