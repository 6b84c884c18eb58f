from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from tests.training.pictures import write_split
from training.data.crops import BalancedCrops, normalised, random_crop, stacked
from training.data.folders import Picture, index_folder


def test_samples_are_balanced_reproducible_and_of_one_size(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=2, seed=0)
    pictures = index_folder(tmp_path).pictures
    crops = BalancedCrops(pictures, size=32, samples=8, seed=5)
    again = BalancedCrops(pictures, size=32, samples=8, seed=5)
    assert len(crops) == 8
    batch, labels = stacked([crops[i] for i in range(8)])
    assert labels.tolist() == [0, 1] * 4 and labels.dtype == np.float32
    assert batch.shape == (8, 32, 32, 3) and batch.dtype == np.uint8
    assert np.array_equal(crops[3][0], again[3][0])
    assert not np.array_equal(crops[3][0], BalancedCrops(pictures, 32, 8, seed=6)[3][0])


def test_a_small_source_is_drawn_as_often_as_a_large_one(tmp_path: Path) -> None:
    pictures = []
    for name, grey, count in (("rare", 0, 1), ("common", 255, 9)):
        path = tmp_path / f"{name}.png"
        PillowImage.new("L", (16, 16), grey).save(path)
        pictures += [Picture(path, label, name) for label in (0, 1) for _ in range(count)]
    crops = BalancedCrops(pictures, size=16, samples=200, seed=0)
    drawn = Counter(bool(crops[i][0].mean() > 128) for i in range(200))
    assert 70 < drawn[True] < 130


def test_crops_fall_anywhere_and_stay_inside() -> None:
    image = np.arange(12 * 10 * 3, dtype=np.uint16).astype(np.uint8).reshape(12, 10, 3)
    rng = np.random.default_rng(0)
    corners = {random_crop(image, 9, rng)[0, 0].tobytes() for _ in range(100)}
    assert corners == {image[y, x].tobytes() for y in range(4) for x in range(2)}


def test_normalised_turns_bgr_bytes_into_standardised_rgb() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 2] = 255
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert torch.allclose(normalised(image)[:, 1, 2], torch.tensor(expected))
    assert normalised(image).shape == (3, 2, 3)
    assert torch.equal(normalised(image[None])[0], normalised(image))
