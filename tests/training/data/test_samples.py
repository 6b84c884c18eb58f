from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from edge.types import Image
from tests.training.pictures import index_folder, smooth_noise, write_split
from training.data.config import DataConfig
from training.data.folders import Picture
from training.data.samples import PictureCache, PictureSamples
from training.degrade import Policy

PLAIN = DataConfig(crop=16, flip=False, first_compression=False)


def _grey(path: Path, level: int) -> Path:
    PillowImage.new("L", (16, 16), level).save(path)
    return path


def test_samples_are_balanced_reproducible_and_of_one_size(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=2, seed=0)
    pictures = index_folder(tmp_path).pictures
    samples, again, other = (
        PictureSamples(pictures, DataConfig(crop=32), Policy(), seed) for seed in (5, 5, 6)
    )
    assert [samples[i]["label"] for i in range(12)] == [0, 1] * 6
    assert all(samples[i]["frames"].shape == (32, 32, 3) for i in range(12))
    backwards = [again[i]["frames"] for i in reversed(range(12))]
    assert all(np.array_equal(samples[i]["frames"], backwards[11 - i]) for i in range(12))
    assert not np.array_equal(samples[3]["frames"], other[3]["frames"])


def test_a_small_source_is_drawn_as_often_as_a_large_one(tmp_path: Path) -> None:
    pictures = []
    for name, level, count in (("rare", 0, 1), ("common", 255, 9)):
        path = _grey(tmp_path / f"{name}.png", level)
        pictures += [Picture(path, label, name) for label in (0, 1) for _ in range(count)]
    samples = PictureSamples(pictures, PLAIN)
    drawn = Counter(bool(samples[i]["frames"].mean() > 128) for i in range(200))
    assert 70 < drawn[True] < 130


def test_pictures_are_resized_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PillowImage.fromarray(smooth_noise(np.random.default_rng(0), 96)).save(path)
    pictures = [Picture(path, label, "a") for label in (0, 1)]
    samples = PictureSamples(pictures, PLAIN.model_copy(update={"resize": 16}))
    assert np.array_equal(samples[0]["frames"], samples[7]["frames"])


def test_pictures_are_kept_up_to_the_bound() -> None:
    reads: list[str] = []

    def read(path: Path) -> Image:
        reads.append(path.name)
        return np.zeros((512, 512, 3), np.uint8)  # three quarters of a mebibyte

    cache = PictureCache(1, read)
    for name in ("a", "b", "a", "b"):
        assert cache.read(Path(name)).shape == (512, 512, 3)
    assert reads == ["a", "b", "b"]
