"""CUDA by pycuda, 2025.1.2 or newer: one GPU's primary context, one stream, one thread.

pycuda destroys streams, events and modules with the last reference to them. The only one is here,
or in a list of one that is emptied, since a traceback keeps the list alive.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
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
"""The first CUDA with `cuGraphInstantiateWithFlags`."""

USUAL_CUDA = "/usr/local/cuda"
"""Where JetPack puts CUDA, and not on the PATH."""

_OF_THIS_THREAD = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile is their own affair."""

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

    def __init__(self) -> None:
        self._leaving = ExitStack()
        self._failures: list[GpuError] = []
        self._owned: dict[int, Owned] = {}
        self._modules: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.gpu = self._find_gpu()
            self._context = _ask(_ask(driver.Device, 0).retain_primary_context)
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
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._failures.clear()
        self._leaving.close()
        # After a failed kernel every call fails; the body's own error says more.
        if self._failures and error is None:
            raise self._failures[0]

    def free_bytes(self) -> int:
        """Memory of the GPU that is free now."""
        return int(_ask(driver.mem_get_info)[0])

    def allocate(self, nbytes: int) -> DeviceMemory:
        """A block on the GPU, aligned to 256 bytes or more; not cleared."""
        raw = self._taken(nbytes, "of the GPU's memory", driver.mem_alloc, nbytes)
        return DeviceMemory(self, raw, _free)

    def mirrored(
        self, shape: Sequence[int], dtype: npt.DTypeLike, mapped: bool = False
    ) -> MirroredArray:
        """A page-locked array, C-contiguous, with its place on the GPU; not cleared."""
        flags = driver.host_alloc_flags.DEVICEMAP if mapped else 0
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        array = self._taken(
            nbytes,
            "of page-locked memory",
            driver.pagelocked_empty,
            tuple(shape),
            np.dtype(dtype),
            mem_flags=flags,
        )
        made = MirroredArray(self, array.base, _free)
        made.array = array
        try:
            made.device = None if mapped else self.allocate(nbytes)
            made.pointer = (
                made.device.pointer if made.device else int(_ask(array.base.get_device_pointer))
            )
        except GpuError:
            made.free()
            raise
        return made

    def event(self, timing: bool = False) -> Event:
        """A new event of the stream; `timing` costs a little and allows `elapsed_ms`.

        Waiting for it blocks instead of spinning: a live source leaves gaps between frames, in
        which a core would be burnt for nothing.
        """
        flags = driver.event_flags
        kind = flags.BLOCKING_SYNC if timing else flags.BLOCKING_SYNC | flags.DISABLE_TIMING
        return Event(self, [_ask(driver.Event, kind)], list.clear)

    def synchronize(self) -> None:
        """Wait until the stream has done all that it was given."""
        _ask(self._stream.synchronize)

    def capture(self, put: Callable[[], object]) -> Graph:
        """A CUDA graph of what a call puts into the stream, none of which is done by that.

        Raises:
            GpuError: something in it cannot be captured. The stream is as it was.
        """
        stream, graph, made = ctypes.c_void_p(self.stream), ctypes.c_void_p(), ctypes.c_void_p()
        _ask_driver("cuStreamBeginCapture_v2", stream, _OF_THIS_THREAD)
        try:
            try:
                put()
            finally:
                # Also after a failure: the stream must leave the capture.
                code = _libcuda().cuStreamEndCapture(stream, ctypes.byref(graph))
            if code:
                raise GpuError(f"CUDA refused cuStreamEndCapture with error {code}.")
            no_flags = ctypes.c_ulonglong()
            _ask_driver("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, no_flags)
        finally:
            if graph:
                _libcuda().cuGraphDestroy(graph)
        return Graph(self, made, partial(_ask_driver, "cuGraphExecDestroy"))

    def kernel(self, source: str, name: str) -> Kernel:
        """A function of CUDA C, `extern "C"`, compiled for this GPU by nvcc or taken from pycuda's
        cache on disk; a source is compiled and loaded once for all functions in it.
        """
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
        if not _ask(driver.Device.count):
            raise GpuError(_no_device("no device"))
        found, attribute = _ask(driver.Device, 0), driver.device_attribute
        return Gpu(
            name=_ask(found.name),
            compute_capability=_ask(found.compute_capability),
            integrated=bool(_ask(found.get_attribute, attribute.INTEGRATED)),
            can_map=bool(_ask(found.get_attribute, attribute.CAN_MAP_HOST_MEMORY)),
            reads_pageable=bool(_ask(found.get_attribute, attribute.PAGEABLE_MEMORY_ACCESS)),
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
        cuda = _libcuda()
        held, current, device = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), 0)
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

    def _taken(
        self, nbytes: int, kind: str, call: Callable[..., Any], *given: Any, **more: Any
    ) -> Any:
        """What an allocation gives; where there is no room the error says how much was free."""
        try:
            return _ask(call, *given, **more)
        except OutOfGpuMemory as error:
            free = "an unknown part"
            with suppress(GpuError):
                free = _mebibytes(self.free_bytes())
            raise GpuError(
                f"Out of GPU memory (CUDA_ERROR_OUT_OF_MEMORY): requested {_mebibytes(nbytes)} "
                f"{kind}, {free} of {_mebibytes(self.gpu.total_bytes)} is free by its count. Close "
                "other programs, or choose a smaller region."
            ) from error


class Owned:
    """Something that its owner frees at the latest when it is left; not to be used after that.

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
        give_back, raw = self._give_back, self._raw
        # Even if this fails: what CUDA refused to free once is not tried a second time.
        self._give_back = self._raw = None
        self._owner._owned.pop(id(self), None)
        give_back(raw)


class DeviceMemory(Owned):
    """A block on the GPU."""

    @property
    def pointer(self) -> int:
        """Its address."""
        return int(self._raw)


class MirroredArray(Owned):
    """A page-locked `array`, not to be touched once freed, and its `pointer` on the GPU: its own
    if it is mapped, else that of a block.
    """

    array: Array
    pointer: int
    device: DeviceMemory | None = None

    def copy_in(self, count: int | None = None) -> None:
        """Put the copy of the first rows to the GPU into the stream; nothing if mapped."""
        if self.device is not None:
            rows = self.array[:count]
            _ask(driver.memcpy_htod_async, self.pointer, rows, self._owner._stream)

    def copy_out(self, count: int | None = None) -> None:
        """Put the copy of the first rows from the GPU into the stream; nothing if mapped."""
        if self.device is not None:
            rows = self.array[:count]
            _ask(driver.memcpy_dtoh_async, rows, self.pointer, self._owner._stream)

    def free(self) -> None:
        """Give both sides back; twice is once."""
        super().free()
        if self.device is not None:
            self.device.free()


class Event(Owned):
    """A point in a stream."""

    def record(self) -> None:
        """Put it behind everything that the stream was given so far."""
        _ask(self._raw[0].record, self._owner._stream)

    def wait(self) -> None:
        """Block until the stream has reached it, without holding the interpreter's lock."""
        _ask(self._raw[0].synchronize)

    def elapsed_ms(self, since: Event) -> float:
        """Milliseconds between an earlier event and this one, both reached."""
        return float(_ask(self._raw[0].time_since, since._raw[0]))


class Graph(Owned):
    """What was captured, to be put into the stream again and again as one."""

    def launch(self) -> None:
        """Put all of it into the stream."""
        _ask_driver("cuGraphLaunch", self._raw, ctypes.c_void_p(self._owner.stream))


class Kernel(Owned):
    """A function on the GPU. Owned, as it keeps its module from being unloaded."""

    _types = ""

    def launch(self, grid: Dim3, block: Dim3, arguments: Sequence[np.generic]) -> None:
        """Put a launch into the stream; the arguments are NumPy scalars of exactly the sizes that
        the function takes, and a pointer is an `np.uint64`.
        """
        types = "".join(argument.dtype.char for argument in arguments)
        if types != self._types:
            self._raw.prepare(types)
            self._types = types
        # The stream is in no variable, which a traceback would keep alive.
        _ask(self._raw.prepared_async_call, grid, block, self._owner._stream, *arguments)


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
    return _error(routine, _error_names().get(words, words), more or words)


def _error(routine: str, name: str, words: str) -> GpuError:
    if name == "CUDA_ERROR_NO_DEVICE":
        return GpuError(_no_device(name))
    kind = OutOfGpuMemory if name == "CUDA_ERROR_OUT_OF_MEMORY" else GpuError
    mend = _NOT_ALLOWED if (routine, name) == ("cuInit", "CUDA_ERROR_UNKNOWN") else _MENDS.get(name)
    return kind(f"CUDA refused {routine} with {name}: {mend or words}.")


_NOT_ALLOWED = (
    "this user may most likely not use the GPU. Run: sudo usermod -aG video,render $USER, and log "
    "in again (in a container --group-add); on a PC: sudo modprobe nvidia_uvm, or restart it"
)
_MENDS = {
    "CUDA_ERROR_STUB_LIBRARY": "the libcuda.so.1 that was found is CUDA's stub for linking, and no "
    "driver. Take the folder stubs out of LD_LIBRARY_PATH",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "another process holds the GPU for itself. End it, or allow "
    "several: sudo nvidia-smi -c DEFAULT",
    "CUDA_ERROR_INVALID_IMAGE": "the compiled kernel is damaged. Remove ~/.cache/pycuda",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the kernel was compiled for another GPU. Remove "
    "~/.cache/pycuda, and let no other nvcc come first on the PATH",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "the GPU's memory is damaged. Restart the machine",
    "CUDA_ERROR_OPERATING_SYSTEM": "the system refused it, mostly for want of a permission or of "
    "memory. Check the groups video and render, and free some memory",
    "CUDA_ERROR_LAUNCH_TIMEOUT": "the desktop's watchdog stopped a kernel. Leave the desktop: "
    "sudo systemctl isolate multi-user.target",
    "CUDA_ERROR_SYSTEM_NOT_READY": "the system is not ready yet. Start nvidia-fabricmanager",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the kernel's driver and libcuda.so.1 are of different "
    "versions, as after an update. Restart the machine (a container: restart it)",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "this GPU takes no cuda-compat, whose library "
    "comes first. Take it out of LD_LIBRARY_PATH",
    **dict.fromkeys(
        (
            "CUDA_ERROR_INSUFFICIENT_DRIVER",
            "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
            "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        ),
        "the NVIDIA driver is older than this CUDA. Update it, or rebuild pycuda with its CUDA",
    ),
    "CUDA_ERROR_UNKNOWN": "the driver failed for a reason of its own. Restart the machine; "
    "'sudo dmesg' may say why",
}
"""What the owner of a machine can do about an error of CUDA."""


@cache
def _libcuda() -> ctypes.CDLL:
    """The driver itself, for what pycuda has not."""
    return ctypes.CDLL("libcuda.so.1")


def _ask_driver(routine: str, *arguments: Any) -> None:
    """Call a routine of the driver."""
    code, name, words = (
        getattr(_libcuda(), routine)(*arguments),
        ctypes.c_char_p(),
        ctypes.c_char_p(),
    )
    if code:
        _libcuda().cuGetErrorName(code, ctypes.byref(name))
        _libcuda().cuGetErrorString(code, ctypes.byref(words))
        known = (name.value or b"error %d" % code).decode()
        raise _error(routine, known, (words.value or b"unknown").decode())


@cache
def _error_names() -> dict[str, str]:
    """CUDA's name of each error, by the description that is all that pycuda gives."""
    words, name = ctypes.c_char_p(), ctypes.c_char_p()
    names = {}
    for code in range(1, 1000):
        if _libcuda().cuGetErrorString(code, ctypes.byref(words)) == 0 and words.value:
            _libcuda().cuGetErrorName(code, ctypes.byref(name))
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
