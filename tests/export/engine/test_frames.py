from __future__ import annotations

import numpy as np
import pytest

from export.engine.frames import COUNT, proof_frames


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (512, 512)])
def test_gives_frames_of_the_size_that_differ(size: tuple[int, int]) -> None:
    frames = list(proof_frames(*size))
    assert len(frames) == COUNT
    assert all(f.shape == (*size, 3) and f.dtype == np.uint8 for f in frames)
    assert all(f.flags.c_contiguous for f in frames)
    assert len({f.tobytes() for f in frames}) == COUNT


def test_gives_the_same_each_time() -> None:
    for a, b in zip(proof_frames(64, 64), proof_frames(64, 64), strict=True):
        assert np.array_equal(a, b)


def test_they_use_the_whole_range_of_levels() -> None:
    scenes = np.stack(list(proof_frames(96, 96))[3:])
    assert scenes.min() == 0 and scenes.max() == 255
    assert scenes.std(axis=(1, 2, 3)).min() > 5
