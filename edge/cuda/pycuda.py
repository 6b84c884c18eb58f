"""CUDA by pycuda, 2024.1.2 or newer."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pycuda
import pycuda.compiler
import pycuda.driver as driver

from edge.cuda.base import Array, Dim3, Gpu
from edge.cuda.owned import OutOfGpuMemory, Owned, OwnedCuda, first_error, no_device, nothing
from edge.errors import GpuError

VERSION: str = pycuda.VERSION_TEXT
USUAL_CUDA = "/usr/local/cuda"
"""Where JetPack puts CUDA, and not on the PATH."""

_T = TypeVar("_T")


class PyCuda(OwnedCuda):
    """See `Cuda`.

    Kernels are compiled by nvcc, and kept in pycuda's own cache on disk.

    pycuda destroys streams, events and modules with the last reference to them. The only one is
    here, or in a list of one that is emptied: a traceback shows the list.
    """

    name = "pycuda"

    def _initialise(self) -> tuple[tuple[int, int], tuple[int, int]]:
        known = divmod(_ask(driver.get_driver_version) // 10, 100)
        _ask(driver.init)
        return known, driver.get_version()[:2]

    def _count_devices(self) -> int:
        return int(_ask(driver.Device.count))

    def _describe(self, device: int, known: tuple[int, int]) -> Gpu:
        found = _ask(driver.Device, device)
        ask = driver.device_attribute
        return Gpu(
            name=_ask(found.name),
            compute_capability=_ask(found.compute_capability),
            integrated=bool(_ask(found.get_attribute, ask.INTEGRATED)),
            can_map=bool(_ask(found.get_attribute, ask.CAN_MAP_HOST_MEMORY)),
            total_bytes=int(_ask(found.total_memory)),
            driver=known,
        )

    def _retain(self) -> None:
        self._context = _ask(_ask(driver.Device, self._device).retain_primary_context)

    def _release(self) -> None:
        """Release what was retained.

        pycuda pushes a primary context that is not current in order to release it, and leaves it
        on the thread's stack (`context::detach` takes the pop for implicit, which it is for other
        contexts). It is popped here, while it is held once more, as a context that is gone should
        not be touched.
        """
        context, self._context = self._context, None
        cuda = ctypes.CDLL("libcuda.so.1")
        held, current, device = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), self._device)
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(held), device)
        try:
            _ask(context.detach)
        finally:
            cuda.cuCtxGetCurrent(ctypes.byref(current))
            if current.value is not None and current.value == held.value:
                cuda.cuCtxPopCurrent_v2(ctypes.byref(current))
            cuda.cuDevicePrimaryCtxRelease_v2(device)

    def _push(self) -> None:
        _ask(self._context.push)

    def _pop(self) -> None:
        _ask(driver.Context.pop)

    def _open_stream(self) -> int:
        self._stream = _ask(driver.Stream)
        return int(self._stream.handle)

    def _close_stream(self) -> None:
        self._stream = None

    def _wait_for_stream(self) -> None:
        _ask(self._stream.synchronize)

    def _free_bytes(self) -> int:
        return int(_ask(driver.mem_get_info)[0])

    def _allocate(self, nbytes: int) -> tuple[Any, int]:
        block = _ask(driver.mem_alloc, nbytes)
        return block, int(block)

    def _deallocate(self, raw: Any) -> None:
        _ask(raw.free)

    def _lock(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], flags: int
    ) -> tuple[Any, Array, int | None]:
        array: Array = _ask(driver.pagelocked_empty, shape, dtype, mem_flags=flags)
        memory: Any = array.base
        return memory, array, int(_ask(memory.get_device_pointer)) if flags else None

    def _unlock(self, raw: Any) -> None:
        _ask(raw.free)

    def _copy_in(self, pointer: int, array: Array, address: int) -> None:
        _ask(driver.memcpy_htod_async, pointer, array, self._stream)

    def _copy_out(self, array: Array, address: int, pointer: int) -> None:
        _ask(driver.memcpy_dtoh_async, array, pointer, self._stream)

    def _make_event(self, flags: int) -> Any:
        return [_ask(driver.Event, flags)]

    def _destroy_event(self, raw: Any) -> None:
        raw.clear()

    def _record_event(self, raw: Any) -> None:
        _ask(raw[0].record, self._stream)

    def _wait_for_event(self, raw: Any) -> None:
        _ask(raw[0].synchronize)

    def _elapsed_ms(self, since: Any, until: Any) -> float:
        return float(_ask(until[0].time_since, since[0]))

    def _load_module(self, source: str) -> Any:
        major, minor = self.gpu.compute_capability
        return [_ask(driver.module_from_buffer, _compiled(source, f"sm_{major}{minor}"))]

    def _unload_module(self, raw: Any) -> None:
        raw.clear()

    def _function(self, module: Any, name: str) -> PyCudaKernel:
        return PyCudaKernel(self, _ask(module[0].get_function, name), lambda: self._stream)


class PyCudaKernel(Owned):
    """See `Kernel`."""

    def __init__(self, owner: PyCuda, function: Any, stream: Callable[[], Any]) -> None:
        # Owned, as a function keeps its module from being unloaded. No reference to the stream
        # either: it could not be destroyed before the context goes.
        super().__init__(owner, function, nothing)
        self._stream = stream
        self._types = ""

    def launch(self, grid: Dim3, block: Dim3, arguments: Sequence[np.generic]) -> None:
        """See `Kernel.launch`."""
        types = "".join(argument.dtype.char for argument in arguments)
        if types != self._types:
            self._alive().prepare(types)
            self._types = types
        _ask(self._alive().prepared_async_call, grid, block, self._stream(), *arguments)


def _ask(call: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
    try:
        return call(*arguments, **options)
    except driver.Error as error:
        # Nor may this frame and pycuda's keep one alive: it must go before the context does.
        del call, arguments, options
        raise _refusal(str(error)) from error.with_traceback(None)


def _refusal(text: str) -> GpuError:
    routine, _, words = text.partition(" failed: ")
    words, _, more = words.partition(" - ")
    name = _names().get(words, words)
    if name == "CUDA_ERROR_NO_DEVICE":
        return GpuError(no_device(name))
    kind = OutOfGpuMemory if name == "CUDA_ERROR_OUT_OF_MEMORY" else GpuError
    return kind(f"CUDA refused {routine} with {name}: {more or words}.")


def _names() -> dict[str, str]:
    """CUDA's name of each error, by the description that is all that pycuda gives."""
    cuda = ctypes.CDLL("libcuda.so.1")
    words, name = ctypes.c_char_p(), ctypes.c_char_p()
    names = {}
    for code in range(1, 1000):
        if cuda.cuGetErrorString(code, ctypes.byref(words)) == 0 and words.value:
            cuda.cuGetErrorName(code, ctypes.byref(name))
            names[words.value.decode()] = (name.value or words.value).decode()
    return names


def _compiled(source: str, arch: str) -> bytes:
    compile_it = partial(pycuda.compiler.compile, source, nvcc=_nvcc(), no_extern_c=True, arch=arch)
    try:
        try:
            return bytes(compile_it())
        except OSError:
            # Its cache on disk cannot be written.
            return bytes(compile_it(cache_dir=False))
    except driver.CompileError as error:
        said = first_error(f"{error.stderr or ''}\n{error.stdout or ''}")
        raise GpuError(f"nvcc cannot compile a kernel for {arch}: {said}.") from error
    except OSError as error:
        raise GpuError(f"nvcc cannot be run, or has no room for its files: {error}.") from error


def _nvcc() -> str:
    named = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_ROOT", "CUDA_PATH")]
    places = [Path(folder, "bin", "nvcc") for folder in (*named, USUAL_CUDA) if folder]
    found = shutil.which("nvcc") or next((str(path) for path in places if path.is_file()), None)
    if found is None:
        raise GpuError(
            f"pycuda compiles kernels with nvcc, and there is none on the PATH or in {USUAL_CUDA}. "
            "Install CUDA's nvcc, or add its folder to the PATH."
        )
    return found
