from __future__ import annotations

import numpy as np
import pytest

from training.pairs.quality import hf_ratio, psnr_db


def test_psnr_of_a_known_error() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert psnr_db(grey, grey + np.uint8(1)) == pytest.approx(48.1308, abs=1e-3)
    assert psnr_db(grey, grey) > 100
    assert psnr_db(grey, grey[:7, :6] + np.uint8(1)) == pytest.approx(48.1308, abs=1e-3)


def test_only_fine_detail_counts_as_high_frequency() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    soft = noise.reshape(16, 4, 16, 4, 3).mean((1, 3)).astype(np.uint8)
    assert hf_ratio(noise, noise) == pytest.approx(1)
    assert hf_ratio(noise, soft.repeat(4, 0).repeat(4, 1)) < 0.1
    half = (noise.astype(int) - 128) // 2 + 128
    assert hf_ratio(noise, half.astype(np.uint8)) == pytest.approx(0.25, abs=0.01)
