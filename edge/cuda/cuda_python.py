"""CUDA by cuda-python, 12.6 or newer (its part `cuda.bindings`)."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cuda.bindings
import numpy as np
from cuda.bindings import driver, nvrtc

from edge.cuda.base import Array, Dim3, Gpu
from edge.cuda.owned import (
    NO_DRIVER,
    OutOfGpuMemory,
    Owned,
    OwnedCuda,
    first_error,
    no_device,
    nothing,
)
from edge.errors import GpuError, MissingDependency
from edge.files import cache_folder

VERSION: str = cuda.bindings.__version__


class CudaPython(OwnedCuda):
    """See `Cuda`.

    Kernels are compiled by NVRTC, and kept under $XDG_CACHE_HOME/patchwatch/kernels.
    """

    name = "cuda-python"

    def _initialise(self) -> tuple[tuple[int, int], tuple[int, int]]:
        try:
            known = _ask("cuDriverGetVersion", driver.cuDriverGetVersion())
        except RuntimeError as error:  # what the loader of each version raises is one of these
            raise GpuError(NO_DRIVER) from error
        _ask("cuInit", driver.cuInit(0))
        self._libcuda = ctypes.CDLL("libcuda.so.1")
        return divmod(known // 10, 100), divmod(driver.CUDA_VERSION // 10, 100)

    def _count_devices(self) -> int:
        return int(_ask("cuDeviceGetCount", driver.cuDeviceGetCount()))

    def _describe(self, device: int, known: tuple[int, int]) -> Gpu:
        found = _ask("cuDeviceGet", driver.cuDeviceGet(device))

        def attribute(name: str) -> int:
            wanted = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(_ask("cuDeviceGetAttribute", driver.cuDeviceGetAttribute(wanted, found)))

        name = _ask("cuDeviceGetName", driver.cuDeviceGetName(256, found))
        major, minor = (attribute(f"COMPUTE_CAPABILITY_{part}") for part in ("MAJOR", "MINOR"))
        return Gpu(
            name=name.split(b"\0")[0].decode(),
            compute_capability=(major, minor),
            integrated=bool(attribute("INTEGRATED")),
            can_map=bool(attribute("CAN_MAP_HOST_MEMORY")),
            total_bytes=int(_ask("cuDeviceTotalMem", driver.cuDeviceTotalMem(found))),
            driver=known,
        )

    def _retain(self) -> None:
        self._found = _ask("cuDeviceGet", driver.cuDeviceGet(self._device))
        retained = driver.cuDevicePrimaryCtxRetain(self._found)
        self._context = _ask("cuDevicePrimaryCtxRetain", retained)

    def _release(self) -> None:
        _ask("cuDevicePrimaryCtxRelease", driver.cuDevicePrimaryCtxRelease(self._found))

    def _push(self) -> None:
        _ask("cuCtxPushCurrent", driver.cuCtxPushCurrent(self._context))

    def _pop(self) -> None:
        _ask("cuCtxPopCurrent", driver.cuCtxPopCurrent())

    def _open_stream(self) -> int:
        self._stream = _ask("cuStreamCreate", driver.cuStreamCreate(0))
        return int(self._stream)

    def _close_stream(self) -> None:
        _ask("cuStreamDestroy", driver.cuStreamDestroy(self._stream))

    def _wait_for_stream(self) -> None:
        self._wait("cuStreamSynchronize", self._stream)

    def _wait(self, routine: str, handle: Any) -> None:
        # Past cuda-python, which up to 12.9.0 keeps the interpreter's lock while it waits.
        code = getattr(self._libcuda, routine)(ctypes.c_void_p(int(handle)))
        _ask(routine, (driver.CUresult(code),))

    def _free_bytes(self) -> int:
        return int(_ask("cuMemGetInfo", driver.cuMemGetInfo())[0])

    def _allocate(self, nbytes: int) -> tuple[Any, int]:
        pointer = _ask("cuMemAlloc", driver.cuMemAlloc(nbytes))
        return pointer, int(pointer)

    def _deallocate(self, raw: Any) -> None:
        _ask("cuMemFree", driver.cuMemFree(raw))

    def _lock(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], flags: int
    ) -> tuple[Any, Array, int | None]:
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = int(_ask("cuMemHostAlloc", driver.cuMemHostAlloc(nbytes, flags)))
        levels = np.ctypeslib.as_array((ctypes.c_ubyte * nbytes).from_address(address))
        array = levels.view(dtype).reshape(shape)
        if not flags:
            return address, array, None
        try:
            mapped = driver.cuMemHostGetDevicePointer(address, 0)
            return address, array, int(_ask("cuMemHostGetDevicePointer", mapped))
        except GpuError:
            self._unlock(address)
            raise

    def _unlock(self, raw: Any) -> None:
        _ask("cuMemFreeHost", driver.cuMemFreeHost(raw))

    def _copy_in(self, pointer: int, array: Array, address: int) -> None:
        put = driver.cuMemcpyHtoDAsync(pointer, address, array.nbytes, self._stream)
        _ask("cuMemcpyHtoDAsync", put)

    def _copy_out(self, array: Array, address: int, pointer: int) -> None:
        put = driver.cuMemcpyDtoHAsync(address, pointer, array.nbytes, self._stream)
        _ask("cuMemcpyDtoHAsync", put)

    def _make_event(self, flags: int) -> Any:
        return _ask("cuEventCreate", driver.cuEventCreate(flags))

    def _destroy_event(self, raw: Any) -> None:
        _ask("cuEventDestroy", driver.cuEventDestroy(raw))

    def _record_event(self, raw: Any) -> None:
        _ask("cuEventRecord", driver.cuEventRecord(raw, self._stream))

    def _wait_for_event(self, raw: Any) -> None:
        self._wait("cuEventSynchronize", raw)

    def _elapsed_ms(self, since: Any, until: Any) -> float:
        return float(_ask("cuEventElapsedTime", driver.cuEventElapsedTime(since, until)))

    def _load_module(self, source: str) -> Any:
        major, minor = self.gpu.compute_capability
        arch = f"sm_{major}{minor}"
        path = _cached_at(source, arch)
        with suppress(OSError, GpuError):
            return _ask("cuModuleLoadData", driver.cuModuleLoadData(path.read_bytes()))
        image = _compiled(source, arch)
        module = _ask("cuModuleLoadData", driver.cuModuleLoadData(image))
        _keep(path, image)
        return module

    def _unload_module(self, raw: Any) -> None:
        _ask("cuModuleUnload", driver.cuModuleUnload(raw))

    def _function(self, module: Any, name: str) -> CudaPythonKernel:
        found = driver.cuModuleGetFunction(module, name.encode())
        return CudaPythonKernel(self, _ask("cuModuleGetFunction", found), self._stream)


class CudaPythonKernel(Owned):
    """See `Kernel`."""

    def __init__(self, owner: CudaPython, function: Any, stream: Any) -> None:
        super().__init__(owner, function, nothing)
        self._stream = stream
        self._set_types("")

    def launch(self, grid: Dim3, block: Dim3, arguments: Sequence[np.generic]) -> None:
        """See `Kernel.launch`."""
        function = self._alive()
        types = "".join(argument.dtype.char for argument in arguments)
        if types != self._types:
            self._set_types(types)
        # CUDA copies the arguments before it returns, so that one room for them is enough.
        self._packer.pack_into(self._room, 0, *arguments)
        pointers = ctypes.addressof(self._pointers)
        put = driver.cuLaunchKernel(function, *grid, *block, 0, self._stream, pointers, 0)
        _ask("cuLaunchKernel", put)

    def _set_types(self, types: str) -> None:
        self._types = types
        self._packer = struct.Struct(f"@{types}")
        self._room = ctypes.create_string_buffer(max(self._packer.size, 1))
        start = ctypes.addressof(self._room)
        offsets = [
            struct.calcsize(f"@{types[: i + 1]}") - struct.calcsize(f"@{kind}")
            for i, kind in enumerate(types)
        ]
        self._pointers = (ctypes.c_void_p * max(len(types), 1))(*(start + at for at in offsets))


def _ask(routine: str, answer: tuple[Any, ...]) -> Any:
    code, *values = answer
    if code != driver.CUresult.CUDA_SUCCESS:
        raise _refusal(routine, code)
    return values[0] if len(values) == 1 else values


def _refusal(routine: str, code: Any) -> GpuError:
    name, words = (
        text.decode() if text else str(int(code))
        for _, text in (driver.cuGetErrorName(code), driver.cuGetErrorString(code))
    )
    if name == "CUDA_ERROR_NO_DEVICE":
        return GpuError(no_device(name))
    kind = OutOfGpuMemory if name == "CUDA_ERROR_OUT_OF_MEMORY" else GpuError
    return kind(f"CUDA refused {routine} with {name}: {words}.")


def _compiled(source: str, arch: str) -> bytes:
    program = _compile_step(nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], []))
    try:
        options = [f"--gpu-architecture={arch}".encode()]
        (code,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(_compile_step(nvrtc.nvrtcGetProgramLogSize(program)))
            nvrtc.nvrtcGetProgramLog(program, log)
            said = first_error(log.rstrip(b"\0").decode(errors="replace"))
            raise GpuError(f"NVRTC cannot compile a kernel for {arch}: {said}.")
        image = bytearray(_compile_step(nvrtc.nvrtcGetCUBINSize(program)))
        _compile_step(nvrtc.nvrtcGetCUBIN(program, image))
        return bytes(image)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _compile_step(answer: tuple[Any, ...]) -> Any:
    code, *values = answer
    if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise GpuError(f"NVRTC failed with {code.name}.")
    return values[0] if values else None


def _cached_at(source: str, arch: str) -> Path:
    try:
        _, major, minor = nvrtc.nvrtcVersion()
    except RuntimeError as error:  # what the loader of each version raises is one of these
        raise MissingDependency(
            "NVRTC", "compile the GPU's front end", "pip install nvidia-cuda-nvrtc"
        ) from error
    key = hashlib.sha256("\0".join((source, arch, f"{major}.{minor}")).encode()).hexdigest()
    return cache_folder() / "kernels" / f"{key}.cubin"


def _keep(path: Path, image: bytes) -> None:
    """Write a cached file whole or not at all; a cache that cannot be written is none."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(image)
        os.replace(file.name, path)
