"""What both libraries share: one thread that owns everything, and nothing left behind."""

from __future__ import annotations

import atexit
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.cuda.base import Array, Gpu, Kernel
from edge.errors import GpuError

OLDEST_DRIVER = (11, 4)
"""The CUDA of JetPack 5, the oldest that engines are run on."""

NO_DRIVER = (
    "No NVIDIA driver answers: libcuda.so.1 cannot be loaded. Install the driver, or give the "
    "container access to the GPU (--gpus all, on a Jetson --runtime nvidia)."
)

# CU_MEMHOSTALLOC_DEVICEMAP, CU_EVENT_DISABLE_TIMING and CU_EVENT_BLOCKING_SYNC.
_MAPPED, _NO_TIMING, _BLOCKING = 2, 2, 1


class OutOfGpuMemory(GpuError):
    """CUDA has no memory left; said anew, with figures, before it reaches a person."""


class OwnedCuda(ABC):
    """The part of `Cuda` that no library decides: whose thread it is and what must be freed.

    A library fills the methods with an underscore. They are called on the owning thread only, and
    raise `GpuError` for what CUDA refuses, `OutOfGpuMemory` where memory is what lacks.

    Args:
        device: index of the GPU.
    """

    name: str
    gpu: Gpu
    stream: int

    def __init__(self, device: int = 0) -> None:
        self._device = device
        self._thread: int | None = None
        self._leaving = ExitStack()
        self._failures: list[GpuError] = []
        self._owned: dict[int, Owned] = {}
        self._locked: dict[int, PageLocked] = {}
        self._modules: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("this Cuda object has been entered already")
        with ExitStack() as undo:
            self._thread = threading.get_ident()
            undo.callback(self._disown)
            self.gpu = self._find_gpu()
            self._retain()
            undo.callback(self._try, self._release)
            self._push()
            undo.callback(self._try, self._pop)
            self.stream = self._open_stream()
            undo.callback(self._try, self._close_stream)
            undo.callback(self._modules.clear)
            undo.callback(self._free_all)
            undo.callback(self._try, self._wait_for_stream)
            self._leaving = undo.pop_all()
        _entered().objects.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.check_thread()
        _entered().objects.remove(self)
        try:
            self.leave()
        except GpuError:
            # After a failed kernel every call fails; what the body raised tells more.
            if error is None:
                raise

    def leave(self) -> None:
        """Wait, free everything, pop and release; each of these whatever became of the others.

        Raises:
            GpuError: the first of what failed.
        """
        self._failures.clear()
        self._leaving.close()
        if self._failures:
            raise self._failures[0]

    def check_thread(self) -> None:
        """Refuse a caller that is not the owning thread.

        Raises:
            RuntimeError: it is another thread, or the object is not entered.
        """
        if self._thread != threading.get_ident():
            where = "is not entered" if self._thread is None else "belongs to another thread"
            raise RuntimeError(
                f"this Cuda object {where}: enter it, use it and leave it on one thread"
            )

    def free_bytes(self) -> int:
        """See `Cuda.free_bytes`."""
        self.check_thread()
        return self._free_bytes()

    def allocate(self, nbytes: int) -> DeviceBlock:
        """See `Cuda.allocate`."""
        self.check_thread()
        try:
            raw, pointer = self._allocate(nbytes)
        except OutOfGpuMemory as error:
            raise self._no_room(nbytes, "of the GPU's memory") from error
        return DeviceBlock(self, raw, self._deallocate, pointer, nbytes)

    def page_locked(
        self, shape: Sequence[int], dtype: npt.DTypeLike, mapped: bool = False
    ) -> PageLocked:
        """See `Cuda.page_locked`."""
        self.check_thread()
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        try:
            raw, array, pointer = self._lock(tuple(shape), kind, _MAPPED if mapped else 0)
        except OutOfGpuMemory as error:
            raise self._no_room(nbytes, "of page-locked memory") from error
        return PageLocked(self, raw, self._unlock, array, pointer if mapped else None)

    def copy_in(self, pointer: int, array: Array) -> None:
        """See `Cuda.copy_in`.

        Raises:
            ValueError: the array is not page-locked memory of this object, or has gaps.
        """
        self.check_thread()
        self._copy_in(pointer, array, self._locked_address(array))

    def copy_out(self, array: Array, pointer: int) -> None:
        """See `Cuda.copy_out`.

        Raises:
            ValueError: the array is not page-locked memory of this object, or has gaps.
        """
        self.check_thread()
        self._copy_out(array, self._locked_address(array), pointer)

    def event(self, timing: bool = False) -> StreamEvent:
        """See `Cuda.event`.

        Waiting for it blocks and does not spin: a live source leaves gaps between frames, in which
        a core would be burnt for nothing.
        """
        self.check_thread()
        raw = self._make_event(_BLOCKING if timing else _BLOCKING | _NO_TIMING)
        return StreamEvent(self, raw, self._destroy_event)

    def synchronize(self) -> None:
        """See `Cuda.synchronize`."""
        self.check_thread()
        self._wait_for_stream()

    def kernel(self, source: str, name: str) -> Kernel:
        """See `Cuda.kernel`; a source is compiled and loaded once for all functions in it."""
        self.check_thread()
        if source not in self._modules:
            module = self._load_module(source)
            Owned(self, module, self._unload_module)
            self._modules[source] = module
        return self._function(self._modules[source], name)

    def own(self, resource: Owned) -> None:
        """Take note of what must be freed."""
        self._owned[id(resource)] = resource
        if isinstance(resource, PageLocked):
            self._locked[id(resource)] = resource

    def disown(self, resource: Owned) -> None:
        """Forget what is being freed."""
        self._owned.pop(id(resource), None)
        self._locked.pop(id(resource), None)

    def _disown(self) -> None:
        self._thread = None

    def _find_gpu(self) -> Gpu:
        driver, built_for = self._initialise()
        needed = max(OLDEST_DRIVER, (built_for[0], 0))
        if driver < needed:
            raise GpuError(
                f"{self.name} needs a driver for CUDA {needed[0]}.{needed[1]} or newer, found one "
                f"for {driver[0]}.{driver[1]}. Update the NVIDIA driver, or install {self.name} "
                f"for CUDA {driver[0]}."
            )
        count = self._count_devices()
        if count == 0:
            raise GpuError(no_device("no device"))
        if not 0 <= self._device < count:
            raise GpuError(
                f"Expected a GPU with index {self._device}, found {count}: choose "
                f"{'0' if count == 1 else f'0 to {count - 1}'}."
            )
        return self._describe(self._device, driver)

    def _no_room(self, nbytes: int, kind: str) -> GpuError:
        free = "an unknown part"
        with suppress(GpuError):
            free = mebibytes(self._free_bytes())
        return GpuError(
            f"Out of GPU memory (CUDA_ERROR_OUT_OF_MEMORY): asked for {mebibytes(nbytes)} {kind}, "
            f"{free} of {mebibytes(self.gpu.total_bytes)} is free. Close other programs, or choose "
            "a smaller region."
        )

    def _locked_address(self, array: Array) -> int:
        start = int(array.__array_interface__["data"][0])
        if array.flags.c_contiguous and any(
            memory.holds(start, array.nbytes) for memory in self._locked.values()
        ):
            return start
        raise ValueError(
            "copies take page-locked memory of this Cuda object, without gaps: write into the "
            "array that page_locked() gave, and pass it or a contiguous view of it"
        )

    def _free_all(self) -> None:
        while self._owned:
            self._try(next(reversed(self._owned.values())).free)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except GpuError as error:
            self._failures.append(error)

    @abstractmethod
    def _initialise(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Start CUDA; the CUDA versions that the driver knows and that the library is made for."""

    @abstractmethod
    def _count_devices(self) -> int: ...

    @abstractmethod
    def _describe(self, device: int, driver: tuple[int, int]) -> Gpu: ...

    @abstractmethod
    def _retain(self) -> None:
        """Retain the primary context, without making it current."""

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def _push(self) -> None: ...

    @abstractmethod
    def _pop(self) -> None: ...

    @abstractmethod
    def _open_stream(self) -> int: ...

    @abstractmethod
    def _close_stream(self) -> None: ...

    @abstractmethod
    def _wait_for_stream(self) -> None: ...

    @abstractmethod
    def _free_bytes(self) -> int: ...

    @abstractmethod
    def _allocate(self, nbytes: int) -> tuple[Any, int]:
        """What the library frees it by, and the address."""

    @abstractmethod
    def _deallocate(self, raw: Any) -> None: ...

    @abstractmethod
    def _lock(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], flags: int
    ) -> tuple[Any, Array, int | None]:
        """What the library frees it by, the array, and its address on the GPU where mapped."""

    @abstractmethod
    def _unlock(self, raw: Any) -> None: ...

    @abstractmethod
    def _copy_in(self, pointer: int, array: Array, address: int) -> None: ...

    @abstractmethod
    def _copy_out(self, array: Array, address: int, pointer: int) -> None: ...

    @abstractmethod
    def _make_event(self, flags: int) -> Any: ...

    @abstractmethod
    def _destroy_event(self, raw: Any) -> None: ...

    @abstractmethod
    def _record_event(self, raw: Any) -> None: ...

    @abstractmethod
    def _wait_for_event(self, raw: Any) -> None: ...

    @abstractmethod
    def _elapsed_ms(self, since: Any, until: Any) -> float: ...

    @abstractmethod
    def _load_module(self, source: str) -> Any: ...

    @abstractmethod
    def _unload_module(self, raw: Any) -> None: ...

    @abstractmethod
    def _function(self, module: Any, name: str) -> Kernel: ...


class Owned:
    """Something that its owner frees at the latest when it is left.

    Args:
        owner: whose thread alone may touch it.
        raw: what the library knows it by.
        give_back: frees that.
    """

    def __init__(self, owner: OwnedCuda, raw: Any, give_back: Callable[[Any], None]) -> None:
        self._owner = owner
        self._raw = raw
        self._give_back: Callable[[Any], None] | None = give_back
        owner.own(self)

    def free(self) -> None:
        """Give it back, on the owning thread; twice is once."""
        if self._give_back is None:
            return
        self._owner.check_thread()
        give_back, raw = self._give_back, self._raw
        # Also where this fails: what CUDA refused to free once is not tried a second time.
        self._give_back = self._raw = None
        self._owner.disown(self)
        give_back(raw)

    def _alive(self) -> Any:
        self._owner.check_thread()
        if self._give_back is None:
            raise RuntimeError("this was freed, and is used again")
        return self._raw


class DeviceBlock(Owned):
    """See `DeviceMemory`."""

    def __init__(
        self,
        owner: OwnedCuda,
        raw: Any,
        give_back: Callable[[Any], None],
        pointer: int,
        nbytes: int,
    ) -> None:
        super().__init__(owner, raw, give_back)
        self.pointer = pointer
        self.nbytes = nbytes


class PageLocked(Owned):
    """See `HostMemory`."""

    def __init__(
        self,
        owner: OwnedCuda,
        raw: Any,
        give_back: Callable[[Any], None],
        array: Array,
        pointer: int | None,
    ) -> None:
        super().__init__(owner, raw, give_back)
        self.array = array
        self.pointer = pointer
        self._start = int(array.__array_interface__["data"][0])
        self._stop = self._start + array.nbytes

    def holds(self, start: int, nbytes: int) -> bool:
        """Whether a range of addresses lies in it."""
        return self._start <= start and start + nbytes <= self._stop


class StreamEvent(Owned):
    """See `Event`."""

    def record(self) -> None:
        """See `Event.record`."""
        self._owner._record_event(self._alive())

    def wait(self) -> None:
        """See `Event.wait`."""
        self._owner._wait_for_event(self._alive())

    def elapsed_ms(self, since: Any) -> float:
        """See `Event.elapsed_ms`."""
        return self._owner._elapsed_ms(since._alive(), self._alive())


class _Entered:
    """What one thread has entered and not left.

    A thread's locals go while it still runs, and this with them. What the thread forgot to leave is
    left then: pycuda aborts the whole process where a thread ends with a context on its stack.
    """

    def __init__(self) -> None:
        self.objects: list[OwnedCuda] = []

    def __del__(self) -> None:
        self.leave()

    def leave(self) -> None:
        """Leave all, the last entered first."""
        while self.objects:
            with suppress(GpuError):
                self.objects.pop().leave()


_LOCAL = threading.local()


def _entered() -> _Entered:
    if not hasattr(_LOCAL, "entered"):
        _LOCAL.entered = _Entered()
    found: _Entered = _LOCAL.entered
    return found


@atexit.register
def _leave_what_was_forgotten() -> None:
    _entered().leave()


def nothing(raw: Any) -> None:
    """Frees what goes with the last reference to it, which the caller gives up."""


def no_device(found: str) -> str:
    """The sentence for a driver that finds no GPU."""
    return (
        f"Expected an NVIDIA GPU, and the driver finds none ({found}). Check that it is plugged in "
        "and that the container, if any, may use it (--gpus all, on a Jetson --runtime nvidia)."
    )


def first_error(log: str) -> str:
    """The first line of a compiler's output that tells of an error, else its first line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return (told or lines or ["the compiler said nothing"])[0][:300]


def mebibytes(nbytes: int) -> str:
    """A size for a sentence."""
    return f"{nbytes / 2**20:,.1f} MiB"
