"""CUDA behind one small seam, the class `Cuda` of `edge.cuda.pycuda`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import GpuError, MissingDependency

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda

INSTALL = "pip install 'pycuda>=2025.1.2', with CUDA's nvcc on the PATH and a C++ compiler"

NO_DRIVER = (
    "No NVIDIA driver found: libcuda.so.1 cannot be loaded. Install the driver, or give the "
    "container access to the GPU (--gpus all, on a Jetson --runtime nvidia)."
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """What one GPU is.

    Attributes:
        name: for instance "Orin".
        compute_capability: major and minor, for instance (8, 7).
        integrated: whether it shares the CPU's memory.
        can_map: whether page-locked memory can be given an address of its own on the GPU.
        reads_pageable: whether it reads any memory of the process, without any copy (Thor).
        total_bytes: of its memory.
        driver: the CUDA version that the driver supports, major and minor.
    """

    name: str
    compute_capability: tuple[int, int]
    integrated: bool
    can_map: bool
    reads_pageable: bool
    total_bytes: int
    driver: tuple[int, int]


def open_cuda() -> Cuda:
    """CUDA on the first GPU; to be entered on the thread that will use it.

    Raises:
        MissingDependency: pycuda is not installed.
        GpuError: it is installed and cannot be imported, for want of a driver for instance.
    """
    return _binding()[0]()


def binding_version() -> str:
    """Version of pycuda; raises as `open_cuda` does."""
    return _binding()[1]


def _binding() -> tuple[type[Cuda], str]:
    try:
        from edge.cuda.pycuda import VERSION, Cuda
    except ModuleNotFoundError as error:
        raise MissingDependency("pycuda", "use the GPU", INSTALL) from error
    except ImportError as error:
        raise GpuError(_why(str(error).strip())) from error
    return Cuda, VERSION


def _why(text: str) -> str:
    if "libcuda.so" in text:
        return NO_DRIVER
    if "undefined symbol: cu" in text:
        missing = text.rsplit("undefined symbol: ", 1)[1]
        return (
            f"The NVIDIA driver is older than the CUDA that pycuda was built for ({missing} is not "
            "in it). Update the driver, or rebuild pycuda with the driver's CUDA."
        )
    first = text.splitlines()[0] if text else "no reason given"
    return f"pycuda is installed and cannot be imported ({first}). Install it again: {INSTALL}"
