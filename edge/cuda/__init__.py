"""CUDA behind one small seam, filled by pycuda or cuda-python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from edge.cuda.base import Cuda
from edge.cuda.owned import NO_DRIVER
from edge.errors import GpuError, MissingDependency, PatchwatchError

Library = Literal["pycuda", "cuda-python"]

LIBRARIES: tuple[Library, ...] = get_args(Library)
"""What fills the seam, the preferred one first."""

COMMANDS: dict[Library, str] = {
    "pycuda": "pip install 'pycuda>=2024.1.2'",
    "cuda-python": (
        "pip install 'cuda-bindings>=12.6,<13' nvidia-cuda-nvrtc-cu12 for a driver of CUDA 12, "
        "'cuda-bindings>=13,<14' nvidia-cuda-nvrtc for one of CUDA 13"
    ),
}
"""What installs each."""


def open_cuda(device: int = 0, library: Library | None = None) -> Cuda:
    """CUDA by pycuda, else by cuda-python; to be entered on the thread that will use it.

    Args:
        device: index of the GPU.
        library: which of both; None for the first that can be imported.

    Raises:
        MissingDependency: it is not installed, or neither is.
        GpuError: it is installed and cannot be imported, for want of a driver for instance.
    """
    failures: list[PatchwatchError] = []
    for name in LIBRARIES if library is None else (library,):
        try:
            return _load(name)[0](device)
        except (MissingDependency, GpuError) as error:
            failures.append(error)
    told = next((error for error in failures if isinstance(error, GpuError)), None)
    if told is not None or library is not None:
        raise told or failures[0]
    raise MissingDependency("pycuda or cuda-python", "use the GPU", " or ".join(COMMANDS.values()))


def available() -> list[tuple[Library, str]]:
    """Each library's name with its version, or with the reason why it cannot be used."""
    return [(name, _version_or_reason(name)) for name in LIBRARIES]


def _version_or_reason(name: Library) -> str:
    try:
        return _load(name)[1]
    except (MissingDependency, GpuError) as error:
        return str(error)


def _load(name: Library) -> tuple[Callable[[int], Cuda], str]:
    try:
        if name == "pycuda":
            from edge.cuda.pycuda import VERSION, PyCuda

            return PyCuda, VERSION
        from edge.cuda.cuda_python import VERSION, CudaPython

        return CudaPython, VERSION
    except ModuleNotFoundError as error:
        raise MissingDependency(name, "use the GPU", COMMANDS[name]) from error
    except ImportError as error:
        raise GpuError(_why(name, str(error))) from error


def _why(name: Library, text: str) -> str:
    if "libcuda.so" in text:
        return NO_DRIVER
    if "undefined symbol: cu" in text:
        missing = text.rsplit("undefined symbol: ", 1)[1].strip()
        return (
            f"The NVIDIA driver is older than the CUDA that {name} was built for ({missing} is not "
            f"in it). Update the driver, or build {name} anew with the driver's CUDA."
        )
    first = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return (
        f"{name} is installed and cannot be imported ({first}). Install it again: {COMMANDS[name]}"
    )
