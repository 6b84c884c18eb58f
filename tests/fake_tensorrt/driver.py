"""The CUDA driver that the process has loaded, if it has: the fake works in its streams.

Device addresses are taken for the host's, as the software driver of the tests gives them.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, as far as a plan depends on it."""

    name: str
    compute_capability: tuple[int, int]


WITHOUT_DRIVER = Device("Orin", (8, 7))
"""Where no driver is loaded."""

# A callback must outlive its call, which comes when the stream comes to it.
_pending: dict[int, Callable[..., None]] = {}
_done: deque[Callable[..., None]] = deque(maxlen=64)
_numbers = itertools.count(1)


def loaded() -> ctypes.CDLL | None:
    """The driver, if this process has loaded it; never loads one."""
    if _left_alone:
        return None
    try:
        return ctypes.CDLL(_LIBRARY, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    except OSError:
        return None


@contextmanager
def left_alone() -> Iterator[None]:
    """Do as if no driver were loaded: once it is, by whichever test, it stays in the process."""
    global _left_alone
    _left_alone += 1
    try:
        yield
    finally:
        _left_alone -= 1


_left_alone = 0


def device() -> Device:
    """The first GPU of the driver."""
    driver = loaded()
    if driver is None or driver.cuInit(0):
        return WITHOUT_DRIVER
    handle = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), 0)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), handle)
    numbers = (_attribute(driver, handle, _MAJOR), _attribute(driver, handle, _MINOR))
    return Device(name.value.decode(), numbers)


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value


def start_error() -> int:
    """The number with which CUDA does not start; 0 if it does, or no driver is loaded."""
    driver = loaded()
    if driver is None:
        return 0
    error: int = driver.cuInit(0)
    count = ctypes.c_int()
    if not error and (driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value):
        return 100
    return error


def context_is_right() -> bool:
    """Whether the primary context is current on this thread, or no driver is loaded.

    TensorRT works through the runtime, and so in the primary context; a stream of another one is
    an invalid handle to it.
    """
    driver = loaded()
    if driver is None:
        return True
    current, primary = ctypes.c_void_p(), ctypes.c_void_p()
    if driver.cuCtxGetCurrent(ctypes.byref(current)) or not current.value:
        return False
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(primary), 0):
        return False
    driver.cuDevicePrimaryCtxRelease_v2(0)
    return current.value == primary.value


def enqueue(stream: int, work: Callable[[], None]) -> bool:
    """Put work into a stream, or do it at once where no driver is loaded."""
    driver = loaded()
    if driver is None:
        work()
        return True
    number = next(_numbers)
    captured = is_capturing(stream)

    def call(_: object) -> None:
        try:
            work()
        finally:
            # It is running, and cannot be let go of yet; a graph calls it again and again.
            if not captured:
                _done.append(_pending.pop(number))

    _pending[number] = callback = _HOST_FUNCTION(call)
    taken = not driver.cuLaunchHostFunc(ctypes.c_void_p(stream), callback, None)
    if not taken:
        del _pending[number]
    return taken


def knows(address: int) -> bool:
    """Whether the GPU reaches an address, or no driver is loaded; pageable memory it does not."""
    driver, kind = loaded(), ctypes.c_uint()
    return driver is None or not driver.cuPointerGetAttribute(
        ctypes.byref(kind), 2, ctypes.c_uint64(address)
    )


def is_capturing(stream: int) -> bool:
    """Whether a stream is captured into a graph."""
    driver, status = loaded(), ctypes.c_int()
    if driver is None or driver.cuStreamIsCapturing(ctypes.c_void_p(stream), ctypes.byref(status)):
        return False
    return bool(status.value)
