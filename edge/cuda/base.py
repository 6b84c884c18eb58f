"""CUDA as far as an engine needs it: a seam that is a dozen calls wide.

Two libraries fill it, pycuda and cuda-python. Whichever is used, everything happens on one thread:
the one that entered the `Cuda` object, which also leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

Array = npt.NDArray[Any]

Dim3 = tuple[int, int, int]
"""Blocks of a grid, or threads of a block: x, y, z."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What one GPU is.

    Attributes:
        name: for instance "Orin".
        compute_capability: major and minor, for instance (8, 7).
        integrated: whether it shares the CPU's memory.
        can_map: whether page-locked memory can be given an address of its own on the GPU.
        total_bytes: of its memory.
        driver: the CUDA version that the driver knows, major and minor.
    """

    name: str
    compute_capability: tuple[int, int]
    integrated: bool
    can_map: bool
    total_bytes: int
    driver: tuple[int, int]


class DeviceMemory(Protocol):
    """A block on the GPU, aligned to 256 bytes or more."""

    pointer: int
    nbytes: int

    def free(self) -> None:
        """Give it back; on the owning thread. Twice is once."""
        ...


class HostMemory(Protocol):
    """A page-locked array.

    Attributes:
        array: the memory itself.
        pointer: its address on the GPU where it is mapped, else None.
    """

    array: Array
    pointer: int | None

    def free(self) -> None:
        """Give it back; `array` must not be touched any more. Twice is once."""
        ...


class Event(Protocol):
    """A point in a stream."""

    def record(self) -> None:
        """Put it behind everything that the stream was given so far."""
        ...

    def wait(self) -> None:
        """Block until the stream has come to it, without holding the interpreter's lock."""
        ...

    def elapsed_ms(self, since: Any) -> float:
        """Milliseconds between an earlier event of the same library and this one, both reached."""
        ...


class Kernel(Protocol):
    """A function on the GPU."""

    def launch(self, grid: Dim3, block: Dim3, arguments: Sequence[np.generic]) -> None:
        """Put a launch into the stream.

        Args:
            grid: blocks.
            block: threads of a block.
            arguments: NumPy scalars of exactly the sizes that the function takes; a pointer is an
                `np.uint64`.
        """
        ...


class Cuda(Protocol):
    """The primary context of one GPU and one stream in it.

    Entering initialises CUDA, retains the primary context (the one that TensorRT uses as well) and
    makes it current on this thread; leaving waits for the stream, frees all that was not freed yet,
    takes the context off this thread and releases it, whatever happened in between.

    Every method raises `GpuError` for what CUDA refuses, with CUDA's own name of the error.

    Attributes:
        name: "pycuda" or "cuda-python".
        gpu: what was found; valid once entered.
        stream: handle of a stream that is not the default one.
    """

    name: str
    gpu: Gpu
    stream: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def free_bytes(self) -> int:
        """Memory of the GPU that is free now."""
        ...

    def allocate(self, nbytes: int) -> DeviceMemory:
        """A block on the GPU; not cleared."""
        ...

    def page_locked(
        self, shape: Sequence[int], dtype: npt.DTypeLike, mapped: bool = False
    ) -> HostMemory:
        """A page-locked array, C-contiguous, not cleared."""
        ...

    def copy_in(self, pointer: int, array: Array) -> None:
        """Put a copy from page-locked memory to the GPU into the stream."""
        ...

    def copy_out(self, array: Array, pointer: int) -> None:
        """Put a copy from the GPU to page-locked memory into the stream."""
        ...

    def event(self, timing: bool = False) -> Event:
        """A new event of the stream; `timing` costs a little and allows `elapsed_ms`."""
        ...

    def synchronize(self) -> None:
        """Wait until the stream has done all that it was given."""
        ...

    def kernel(self, source: str, name: str) -> Kernel:
        """Compile CUDA C for this GPU, or take it from a cache on disk, and find a function in it.

        Args:
            source: CUDA C; the function is `extern "C"`.
            name: of the function.
        """
        ...
