"""Kernels keep their sums; nothing else is promised of single weights but nearness."""

from __future__ import annotations

import numpy as np

from edge.rounding import Weights, keep_sums


def halves(values: Weights) -> Weights:
    return values.astype(np.float16).astype(np.float64)


def test_by_hand() -> None:
    kernel = np.array([[[[1.4, -1.4, 0.4, 0.3]]]])
    # 1.4 → 1 owes 0.4; −1.4 + 0.4 → −1; 0.4 → 0 owes 0.4; 0.3 + 0.4 → 1 owes −0.3.
    assert keep_sums(kernel, np.rint).tolist() == [[[[1, -1, 0, 1]]]]


def test_an_edge_keeps_answering_to_no_flat_area() -> None:
    rng = np.random.default_rng(1)
    kernels = rng.normal(0, 3, (64, 2, 5, 5))
    kernels -= kernels.mean((2, 3), keepdims=True)
    kept, single = keep_sums(kernels, halves), halves(kernels)
    assert np.array_equal(kept, halves(kept))
    assert np.abs(kept.sum((2, 3))).max() < np.abs(single.sum((2, 3))).max() / 10
    assert np.abs(kept - kernels).max() < 3 * np.abs(single - kernels).max()


def test_a_single_weight_is_rounded_as_it_is() -> None:
    kernels = np.random.default_rng(2).normal(0, 1, (8, 4, 1, 1))
    assert np.array_equal(keep_sums(kernels, halves), halves(kernels))
