from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError
from tests.training.pairs.photographs import write_photographs
from training.data.folders import Picture
from training.pairs.photographs import (
    PoolCrops,
    evenly,
    find_photographs,
    identity,
    read_pool,
    region,
)


def test_a_limit_is_shared_evenly_and_a_larger_one_only_adds() -> None:
    pictures = [Picture(Path(f"a/{i}"), 0, "a") for i in range(8)] + [Picture(Path("b/0"), 0, "b")]
    assert [p.source for p in evenly(pictures, 3)] == ["a", "a", "b"]
    assert set(evenly(pictures, 3)) < set(evenly(pictures, 5))
    assert evenly(pictures, None) == pictures


def test_a_region_is_cut_and_never_resized() -> None:
    image = np.arange(50 * 41 * 3, dtype=np.uint32).astype(np.uint8).reshape(50, 41, 3)
    part = region(image, 48, 8, np.random.default_rng(0))
    assert part.shape == (48, 40, 3)
    places = [(y, x) for y in range(3) for x in range(2)]
    assert any(np.array_equal(image[y : y + 48, x : x + 40], part) for y, x in places)
    with pytest.raises(SourceError, match="41×50 pixels, smaller than 64×64"):
        region(image, 256, 64, np.random.default_rng(0))


def test_a_name_does_not_depend_on_where_the_data_lies(tmp_path: Path) -> None:
    one, other = (write_photographs(tmp_path / name, 2) for name in ("one", "other"))
    names = [[identity(p, data) for p in find_photographs(data)] for data in (one, other)]
    assert names[0] == names[1] and len(set(names[0])) == 2


def test_the_pool_holds_some_out_and_lists_bad_files(tmp_path: Path) -> None:
    data = write_photographs(tmp_path, 4)
    (data / "0_real" / "camera-a" / "bad.png").write_bytes(b"no picture")
    pool = read_pool(data, find_photographs(data), 32, 0, lambda: None)
    assert (len(pool.learned), len(pool.held_out)) == (3, 1)
    assert "bad.png" in pool.rejected[0].reason
    crops, again = (PoolCrops(pool, 32, seed=1) for _ in range(2))
    assert crops[7]["frames"].shape == (32, 32, 3)
    assert np.array_equal(crops[7]["frames"], again[7]["frames"])
    assert not np.array_equal(crops[7]["frames"], crops[8]["frames"])
