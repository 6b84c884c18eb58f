"""Rounding a kernel so that its sum over the window survives.

Kernels of depthwise layers weigh neighbours against each other: large weights whose sum is small.
Rounded one by one, such a kernel answers to the brightness of a flat area. Here the error of each
weight is handed to the next smaller one, whose steps are finer, so that only the last one's is left
(error diffusion, as in Floyd and Steinberg, 1976, along the order of size instead of a scan line).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


def keep_sums(kernels: Weights, rounded: Callable[[Weights], Weights]) -> Weights:
    """Round so that each window [h, w] of kernels [O, C, h, w] sums to nearly what it did;
    `rounded` gives each number's nearest that can be held.
    """
    flat = kernels.reshape(-1, kernels.shape[2] * kernels.shape[3])
    order = np.argsort(-np.abs(flat), axis=1, kind="stable")
    row, result, owed = np.arange(len(flat)), np.empty_like(flat), np.zeros(len(flat))
    for column in order.T:
        wanted = flat[row, column] + owed
        result[row, column] = rounded(wanted)
        owed = wanted - result[row, column]
    return result.reshape(kernels.shape)
