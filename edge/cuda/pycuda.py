"""CUDA by pycuda, 2024.1.2 or newer: one GPU's primary context, one stream, one thread.

pycuda destroys streams, events and modules with the last reference to them. The only one is here,
or in a list of one that is emptied, since a traceback keeps the list alive.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pycuda
import pycuda.compiler
import pycuda.driver as driver
from typing_extensions import Self

from edge.cuda import Gpu
from edge.errors import GpuError

VERSION: str = pycuda.VERSION_TEXT

OLDEST_DRIVER = (11, 4)
"""The CUDA of JetPack 5, the oldest that engines are run on."""

USUAL_CUDA = "/usr/local/cuda"
"""Where JetPack puts CUDA, and not on the PATH."""

Array = npt.NDArray[Any]

Dim3 = tuple[int, int, int]
"""Blocks of a grid, or threads of a block: x, y, z."""

_T = TypeVar("_T")


class OutOfGpuMemory(GpuError):
    """CUDA has no memory left; raised again with figures before a person sees it."""


class Cuda:
    """The primary context of one GPU, the one that TensorRT uses as well, and a stream in it.

    Entering makes the context current on this thread, the only one that may use it; leaving waits
    for the stream, frees all that was not freed yet and releases the context, whatever happened.
    Every method raises `GpuError` for what CUDA refuses, with CUDA's own name of the error.

    Attributes:
        gpu: what was found; valid once entered.
        stream: handle of a stream that is not the default one.
    """

    gpu: Gpu
    stream: int

    def __init__(self, device: int = 0) -> None:
        self._device = device
        self._thread: int | None = None
        self._leaving = ExitStack()
        self._failures: list[GpuError] = []
        self._owned: dict[int, Owned] = {}
        self._locked: dict[int, HostMemory] = {}
        self._modules: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("this Cuda object has been entered already")
        with ExitStack() as undo:
            self._thread = threading.get_ident()
            undo.callback(setattr, self, "_thread", None)
            self.gpu = self._find_gpu()
            self._context = _ask(_ask(driver.Device, self._device).retain_primary_context)
            undo.callback(self._try, self._release)
            _ask(self._context.push)
            undo.callback(self._try, partial(_ask, driver.Context.pop))
            self._stream: Any = _ask(driver.Stream)
            undo.callback(setattr, self, "_stream", None)
            undo.callback(self._modules.clear)
            undo.callback(self._free_all)
            undo.callback(self._try, self.synchronize)
            self._leaving = undo.pop_all()
        self.stream = int(self._stream.handle)
        _LOCALS.entered.objects.append(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.check_thread()
        _LOCALS.entered.objects.remove(self)
        try:
            self.leave()
        except GpuError:
            # After a failed kernel every call fails; the body's own error says more.
            if error is None:
                raise

    def leave(self) -> None:
        """Wait, free everything, pop and release, each whatever became of the others; raise the
        first failure."""
        self._failures.clear()
        self._leaving.close()
        if self._failures:
            raise self._failures[0]

    def check_thread(self) -> None:
        """Refuse any thread but the owning one by a RuntimeError."""
        if self._thread != threading.get_ident():
            where = "is not entered" if self._thread is None else "belongs to another thread"
            raise RuntimeError(
                f"this Cuda object {where}: enter it, use it and leave it on one thread"
            )

    def free_bytes(self) -> int:
        """Memory of the GPU that is free now."""
        self.check_thread()
        return int(_ask(driver.mem_get_info)[0])

    def allocate(self, nbytes: int) -> DeviceMemory:
        """A block on the GPU, aligned to 256 bytes or more; not cleared."""
        self.check_thread()
        try:
            return DeviceMemory(self, _ask(driver.mem_alloc, nbytes), nbytes)
        except OutOfGpuMemory as error:
            raise self._no_room(nbytes, "of the GPU's memory") from error

    def page_locked(
        self, shape: Sequence[int], dtype: npt.DTypeLike, mapped: bool = False
    ) -> HostMemory:
        """A page-locked array, C-contiguous, not cleared."""
        self.check_thread()
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        try:
            array = _ask(driver.pagelocked_empty, tuple(shape), np.dtype(dtype), mem_flags=flags)
        except OutOfGpuMemory as error:
            nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            raise self._no_room(nbytes, "of page-locked memory") from error
        return HostMemory(self, array, mapped)

    def mirrored(
        self, shape: Sequence[int], dtype: npt.DTypeLike, mapped: bool = False
    ) -> MirroredArray:
        """A page-locked array with its place on the GPU; not cleared."""
        host = self.page_locked(shape, dtype, mapped)
        try:
            device = None if mapped else self.allocate(host.array.nbytes)
        except GpuError:
            host.free()
            raise
        return MirroredArray(self, host, device)

    def copy_in(self, pointer: int, array: Array) -> None:
        """Put a copy from page-locked memory of this object, without gaps, into the stream."""
        self._check_locked(array)
        _ask(driver.memcpy_htod_async, pointer, array, self._stream)

    def copy_out(self, array: Array, pointer: int) -> None:
        """Put a copy to page-locked memory of this object, without gaps, into the stream."""
        self._check_locked(array)
        _ask(driver.memcpy_dtoh_async, array, pointer, self._stream)

    def event(self, timing: bool = False) -> Event:
        """A new event of the stream; `timing` costs a little and allows `elapsed_ms`.

        Waiting for it blocks instead of spinning: a live source leaves gaps between frames, in
        which a core would be burnt for nothing.
        """
        self.check_thread()
        flags = driver.event_flags
        kind = flags.BLOCKING_SYNC if timing else flags.BLOCKING_SYNC | flags.DISABLE_TIMING
        return Event(self, [_ask(driver.Event, kind)], list.clear)

    def synchronize(self) -> None:
        """Wait until the stream has done all that it was given."""
        self.check_thread()
        _ask(self._stream.synchronize)

    def kernel(self, source: str, name: str) -> Kernel:
        """A function of CUDA C, compiled for this GPU by nvcc or taken from pycuda's cache on disk.

        Args:
            source: compiled and loaded once for all functions in it.
            name: of the function, which is `extern "C"`.
        """
        self.check_thread()
        if source not in self._modules:
            major, minor = self.gpu.compute_capability
            image = _compiled(source, f"sm_{major}{minor}")
            self._modules[source] = [_ask(driver.module_from_buffer, image)]
            Owned(self, self._modules[source], list.clear)
        return Kernel(self, _ask(self._modules[source][0].get_function, name))

    def _find_gpu(self) -> Gpu:
        known = divmod(_ask(driver.get_driver_version) // 10, 100)
        _ask(driver.init)
        needed = max(OLDEST_DRIVER, (driver.get_version()[0], 0))
        if known < needed:
            raise GpuError(
                f"pycuda needs a driver for CUDA {needed[0]}.{needed[1]} or newer, found one for "
                f"{known[0]}.{known[1]}. Update the NVIDIA driver, or build pycuda with CUDA "
                f"{known[0]}."
            )
        count = int(_ask(driver.Device.count))
        if count == 0:
            raise GpuError(_no_device("no device"))
        if not 0 <= self._device < count:
            raise GpuError(
                f"Expected a GPU with index {self._device}, found {count}: choose "
                f"{'0' if count == 1 else f'0 to {count - 1}'}."
            )
        found, attribute = _ask(driver.Device, self._device), driver.device_attribute
        return Gpu(
            name=_ask(found.name),
            compute_capability=_ask(found.compute_capability),
            integrated=bool(_ask(found.get_attribute, attribute.INTEGRATED)),
            can_map=bool(_ask(found.get_attribute, attribute.CAN_MAP_HOST_MEMORY)),
            total_bytes=int(_ask(found.total_memory)),
            driver=known,
        )

    def _release(self) -> None:
        """Release what was retained.

        pycuda pushes a primary context that is not current in order to release it, and leaves it
        on the thread's stack (`context::detach` takes the pop for implicit, which it is for other
        contexts). It is popped here, while it is retained once more, as a context that is gone
        should not be touched.
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

    def _free_all(self) -> None:
        while self._owned:
            self._try(next(reversed(self._owned.values())).free)

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except GpuError as error:
            self._failures.append(error)

    def _no_room(self, nbytes: int, kind: str) -> GpuError:
        free = "an unknown part"
        with suppress(GpuError):
            free = _mebibytes(self.free_bytes())
        return GpuError(
            f"Out of GPU memory (CUDA_ERROR_OUT_OF_MEMORY): requested {_mebibytes(nbytes)} {kind}, "
            f"{free} of {_mebibytes(self.gpu.total_bytes)} is free. Close other programs, or "
            "choose a smaller region."
        )

    def _check_locked(self, array: Array) -> None:
        self.check_thread()
        start = int(array.__array_interface__["data"][0])
        inside = (memory.holds(start, array.nbytes) for memory in self._locked.values())
        if not array.flags.c_contiguous or not any(inside):
            raise ValueError(
                "copies take page-locked memory of this Cuda object, without gaps: write into the "
                "array that page_locked() gave, and pass it or a contiguous view of it"
            )


class Owned:
    """Something that its owner frees at the latest when it is left.

    Args:
        owner: only its thread may use it.
        raw: pycuda's object, or a list of it.
        give_back: frees that; by default it is only dropped.
    """

    def __init__(
        self, owner: Cuda, raw: Any, give_back: Callable[[Any], object] = lambda raw: None
    ) -> None:
        self._owner = owner
        self._raw = raw
        self._give_back: Callable[[Any], object] | None = give_back
        owner._owned[id(self)] = self

    def free(self) -> None:
        """Give it back, on the owning thread; twice is once."""
        if self._give_back is None:
            return
        self._owner.check_thread()
        give_back, raw = self._give_back, self._raw
        # Even if this fails: what CUDA refused to free once is not tried a second time.
        self._give_back = self._raw = None
        self._owner._owned.pop(id(self), None)
        self._owner._locked.pop(id(self), None)
        give_back(raw)

    def _alive(self) -> Any:
        self._owner.check_thread()
        if self._give_back is None:
            raise RuntimeError("this was freed, and is used again")
        return self._raw


class DeviceMemory(Owned):
    """A block on the GPU: its address and its size."""

    def __init__(self, owner: Cuda, raw: Any, nbytes: int) -> None:
        super().__init__(owner, raw, _free)
        self.pointer = int(raw)
        self.nbytes = nbytes


class HostMemory(Owned):
    """A page-locked array.

    Attributes:
        array: the memory itself; must not be touched once it is freed.
        pointer: its address on the GPU where it is mapped, else None.
    """

    def __init__(self, owner: Cuda, array: Array, mapped: bool) -> None:
        memory: Any = array.base
        super().__init__(owner, memory, _free)
        self.array = array
        self.pointer: int | None = None
        self._start = int(array.__array_interface__["data"][0])
        owner._locked[id(self)] = self
        if mapped:
            try:
                self.pointer = int(_ask(memory.get_device_pointer))
            except GpuError:
                self.free()
                raise

    def holds(self, start: int, nbytes: int) -> bool:
        """Whether a range of addresses lies in it."""
        return self._start <= start and start + nbytes <= self._start + self.array.nbytes


class MirroredArray:
    """A page-locked `array`, and its `pointer` on the GPU: its own if mapped, else a block's."""

    def __init__(self, cuda: Cuda, host: HostMemory, device: DeviceMemory | None) -> None:
        self._cuda, self._host, self._device = cuda, host, device
        self.array = host.array
        pointer = host.pointer if device is None else device.pointer
        assert pointer is not None  # it is mapped where there is no block
        self.pointer = pointer

    def copy_in(self, count: int | None = None) -> None:
        """Put the copy of the first rows to the GPU into the stream; nothing if mapped."""
        if self._device is not None:
            self._cuda.copy_in(self.pointer, self.array[:count])

    def copy_out(self, count: int | None = None) -> None:
        """Put the copy of the first rows from the GPU into the stream; nothing if mapped."""
        if self._device is not None:
            self._cuda.copy_out(self.array[:count], self.pointer)

    def free(self) -> None:
        """Give both sides back; twice is once."""
        self._host.free()
        if self._device is not None:
            self._device.free()


class Event(Owned):
    """A point in a stream."""

    def record(self) -> None:
        """Put it behind everything that the stream was given so far."""
        _ask(self._alive()[0].record, self._owner._stream)

    def wait(self) -> None:
        """Block until the stream has reached it, without holding the interpreter's lock."""
        _ask(self._alive()[0].synchronize)

    def elapsed_ms(self, since: Event) -> float:
        """Milliseconds between an earlier event and this one, both reached."""
        return float(_ask(self._alive()[0].time_since, since._alive()[0]))


class Kernel(Owned):
    """A function on the GPU. Owned, as it keeps its module from being unloaded."""

    _types = ""

    def launch(self, grid: Dim3, block: Dim3, arguments: Sequence[np.generic]) -> None:
        """Put a launch into the stream.

        Args:
            grid: blocks.
            block: threads of a block.
            arguments: NumPy scalars of exactly the sizes that the function takes; a pointer is an
                `np.uint64`.
        """
        types = "".join(argument.dtype.char for argument in arguments)
        if types != self._types:
            self._alive().prepare(types)
            self._types = types
        # The stream is in no variable, which a traceback would keep alive.
        _ask(self._alive().prepared_async_call, grid, block, self._owner._stream, *arguments)


class _Entered:
    """What one thread has entered and not left.

    A thread's locals go while it still runs, and this with them. What the thread forgot to leave is
    left then: pycuda aborts the whole process if a thread ends with a context on its stack.
    """

    def __init__(self) -> None:
        self.objects: list[Cuda] = []

    def __del__(self) -> None:
        while self.objects:
            with suppress(GpuError):
                self.objects.pop().leave()


class _Locals(threading.local):
    def __init__(self) -> None:
        self.entered = _Entered()


_LOCALS = _Locals()
atexit.register(lambda: _LOCALS.entered.__del__())


def _free(memory: Any) -> None:
    _ask(memory.free)


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
    name = _error_names().get(words, words)
    if name == "CUDA_ERROR_NO_DEVICE":
        return GpuError(_no_device(name))
    kind = OutOfGpuMemory if name == "CUDA_ERROR_OUT_OF_MEMORY" else GpuError
    return kind(f"CUDA refused {routine} with {name}: {more or words}.")


def _error_names() -> dict[str, str]:
    """CUDA's name of each error, by the description that is all that pycuda gives."""
    cuda = ctypes.CDLL("libcuda.so.1")
    words, name = ctypes.c_char_p(), ctypes.c_char_p()
    names = {}
    for code in range(1, 1000):
        if cuda.cuGetErrorString(code, ctypes.byref(words)) == 0 and words.value:
            cuda.cuGetErrorName(code, ctypes.byref(name))
            names[words.value.decode()] = (name.value or words.value).decode()
    return names


def _no_device(found: str) -> str:
    return (
        f"Expected an NVIDIA GPU, and the driver finds none ({found}). Check that it is plugged in "
        "and that the container, if any, may use it (--gpus all, on a Jetson --runtime nvidia)."
    )


def _compiled(source: str, arch: str) -> bytes:
    compile_it = partial(pycuda.compiler.compile, source, nvcc=_nvcc(), no_extern_c=True, arch=arch)
    try:
        try:
            return bytes(compile_it())
        except OSError:
            # Its cache on disk cannot be written.
            return bytes(compile_it(cache_dir=False))
    except driver.CompileError as error:
        lines = [line.strip() for line in f"{error.stderr}\n{error.stdout}".splitlines() if line]
        faults = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
        reason = (faults or lines)[0][:300]
        raise GpuError(f"nvcc cannot compile a kernel for {arch}: {reason}.") from error
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


def _mebibytes(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"
