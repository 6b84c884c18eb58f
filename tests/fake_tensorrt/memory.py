"""Aligned memory of the host, in the place of the GPU's."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

ALIGNMENT = 256


class Block:
    """Zeros at an address that is a multiple of 256."""

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape)) * kind.itemsize
        self._raw = (ctypes.c_ubyte * (nbytes + ALIGNMENT))()
        start = -ctypes.addressof(self._raw) % ALIGNMENT
        self.address = ctypes.addressof(self._raw) + start
        view = memoryview(self._raw)[start : start + nbytes]
        self.array: npt.NDArray[np.generic] = np.frombuffer(view, kind).reshape(shape)
