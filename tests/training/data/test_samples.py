from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from edge.types import Image
from tests.training.pictures import index_folder, smooth_noise, write_split
from training.data.config import DataConfig
from training.data.folders import Picture
from training.data.samples import PictureCache, PictureSamples
from training.degrade import Policy
from training.pairs.folder import Pair

PLAIN = DataConfig(crop=16, flip=False, first_compression=False)


def _grey(path: Path, level: int) -> Path:
    PillowImage.new("L", (16, 16), level).save(path)
    return path


def test_samples_are_balanced_reproducible_and_of_one_size(tmp_path: Path) -> None:
    write_split(tmp_path, per_source=2, seed=0)
    pictures = index_folder(tmp_path).pictures
    samples, again, other = (
        PictureSamples(pictures, [], DataConfig(crop=32), Policy(), seed) for seed in (5, 5, 6)
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
    samples = PictureSamples(pictures, [], PLAIN)
    drawn = Counter(bool(samples[i]["frames"].mean() > 128) for i in range(200))
    assert 70 < drawn[True] < 130


@pytest.mark.parametrize("first_compression", [False, True])
def test_both_sides_of_a_pair_meet_the_same(tmp_path: Path, first_compression: bool) -> None:
    """Given the same picture twice, the two sides come out equal, whatever is drawn."""
    path = tmp_path / "a.png"
    PillowImage.fromarray(smooth_noise(np.random.default_rng(0), 96)).save(path)
    data = DataConfig(crop=32, first_compression=first_compression)
    samples = PictureSamples([], [Pair(path, path, "vae")], data, Policy(untouched=0))
    sides = [samples[i] for i in range(40)]
    assert [side["label"] for side in sides] == [0, 1] * 20
    assert all(np.array_equal(sides[i]["frames"], sides[i + 1]["frames"]) for i in range(0, 40, 2))
    assert len({side["frames"].tobytes() for side in sides}) == 20


def test_a_pair_of_a_jpeg_and_a_lossless_file_shares_its_crop(tmp_path: Path) -> None:
    image = smooth_noise(np.random.default_rng(0), 96)
    PillowImage.fromarray(image).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    PillowImage.fromarray(image).save(tmp_path / "a.png")
    pair = Pair(tmp_path / "a.jpg", tmp_path / "a.png", "vae")
    samples = PictureSamples([], [pair], DataConfig(crop=32))
    apart = [
        np.abs(samples[i]["frames"].astype(int) - samples[i + 1]["frames"]).mean()
        for i in range(0, 20, 2)
    ]
    assert 0 < max(apart) < 15  # two unlike crops are some 60 apart


def test_pairs_make_up_their_share_and_decoders_count_evenly(tmp_path: Path) -> None:
    levels = {name: _grey(tmp_path / f"{name}.png", n * 60) for n, name in enumerate("pqrs")}
    pictures = [Picture(levels["p"], label, "own") for label in (0, 1)]
    pairs = [Pair(levels["q"], levels["r"], "often")] * 9 + [
        Pair(levels["q"], levels["s"], "seldom")
    ]
    samples = PictureSamples(pictures, pairs, PLAIN.model_copy(update={"pairs_share": 0.75}))
    seen = Counter(int(samples[2 * j + 1]["frames"].mean()) for j in range(400))
    assert 260 < seen[120] + seen[180] < 340
    assert 110 < seen[120] < 190 and 110 < seen[180] < 190


def test_pictures_are_resized_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PillowImage.fromarray(smooth_noise(np.random.default_rng(0), 96)).save(path)
    pictures = [Picture(path, label, "a") for label in (0, 1)]
    samples = PictureSamples(pictures, [], PLAIN.model_copy(update={"resize": 16}))
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
