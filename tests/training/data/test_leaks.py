from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.training.data.layout_trees import TREES, plant
from training.data.dataset import open_dataset
from training.data.leaks import MOST_DISTANCE, Hashes, find_leaks, nearest_hashes


def _flipped(rng: np.random.Generator, hashes: Hashes, most: int) -> Hashes:
    """The same with up to `most` bits of each changed."""
    flipped = hashes.copy()
    for place in range(len(flipped)):
        for bit in rng.integers(64, size=place % (most + 1)):
            flipped[place] ^= np.uint64(1) << np.uint64(bit)
    return flipped


@pytest.mark.parametrize("distance", range(MOST_DISTANCE + 1))
def test_the_search_finds_what_comparing_every_pair_does(distance: int) -> None:
    rng = np.random.default_rng(distance)
    known = rng.integers(0, 2**64, 300, dtype=np.uint64)
    known[7] = known[3]
    asked = np.concatenate([_flipped(rng, known[:150], 12), known[:5]])
    gaps = np.array([[(int(a) ^ int(k)).bit_count() for k in known] for a in asked])
    expected = np.where(gaps.min(1) <= distance, gaps.argmin(1), -1)
    places, distances = nearest_hashes(known, asked, distance)
    assert places.tolist() == expected.tolist()
    assert distances[places >= 0].tolist() == gaps.min(1)[places >= 0].tolist()
    assert places[-2] == 3 and (places >= 0).sum() > 10


def test_nothing_to_compare_finds_nothing() -> None:
    none, some = np.zeros(0, np.uint64), np.ones(3, np.uint64)
    assert nearest_hashes(some, none, 4)[0].tolist() == []
    assert nearest_hashes(none, some, 4)[0].tolist() == [-1, -1, -1]


def test_many_equal_pictures_are_found_once_each() -> None:
    same = np.full(50_000, 5, np.uint64)
    places, distances = nearest_hashes(same, same ^ np.uint64(1), 4)
    assert set(places.tolist()) == {0} and set(distances.tolist()) == {1}


def test_a_picture_of_train_that_comes_back_is_reported_with_both_labels(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["wildrf"])
    stolen = root / "train" / "0_real" / "1.png"
    target = root / "test" / "reddit" / "1_fake" / "stolen.jpg"
    with PillowImage.open(stolen) as image:
        image.resize((40, 40)).save(target, quality=80)
    shares: list[float] = []
    dataset = open_dataset(root, cache=tmp_path / "c", hashed=True)
    (found,) = find_leaks(dataset, on_step=shares.append)
    (leak,) = found
    assert found.split == "test/reddit" and len(found) == 1
    assert (leak.held.path, leak.train.path) == (target, stolen)
    assert (leak.held.label, leak.train.label) == (1, 0)
    assert shares == sorted(shares) and shares[-1] == 1


def test_without_a_split_to_learn_from_there_is_none(tmp_path: Path) -> None:
    root = plant(tmp_path / "data", TREES["ufd"])
    assert find_leaks(open_dataset(root, cache=tmp_path / "c", hashed=True)) == []
