"""The driver in software finds what it is there to find.

What a board does, and it does too: pageable or unmapped memory is refused, unless the GPU reads all
of the process; code for another architecture is (209); `cuInit` fails by permissions (999) or for
another reason; `cuMemGetInfo` reports less than can be had; an error stays with its context.

Not modelled: time and clocks of a GPU, caches and coherence, and so what zero-copy costs; work that
runs before it is waited for, or beside other work of the GPU; several streams at once; limits on
locked memory; pages that are swapped out while the GPU reads them; shared memory and barriers
within a block; unified memory; graphs that are changed; a driver that hangs, and the display's
watchdog; other processes on the GPU.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.software_cuda import (
    ILLEGAL_ADDRESS,
    INVALID_CONTEXT,
    INVALID_VALUE,
    SoftwareGpu,
)

INVALID_HANDLE, CONTEXT_IS_DESTROYED, NOT_PERMITTED, NOT_READY = 400, 709, 800, 600


class Raw:
    """The driver's functions as C has them."""

    def __init__(self, gpu: SoftwareGpu) -> None:
        self.library = gpu.library
        self.gpu = gpu

    def __getattr__(self, name: str) -> Callable[..., int]:
        found: Callable[..., int] = getattr(self.library, name)
        return found

    def out(self, name: str, *arguments: object) -> ctypes.c_uint64:
        value = ctypes.c_uint64()
        assert getattr(self.library, name)(ctypes.byref(value), *arguments) == 0
        return value


@pytest.fixture
def raw(software_gpu: SoftwareGpu) -> Iterator[Raw]:
    """With the primary context of the GPU current, and cleaned up by a reset."""
    raw = Raw(software_gpu)
    assert raw.cuInit(0) == 0
    context = raw.out("cuDevicePrimaryCtxRetain", 0)
    assert raw.cuCtxPushCurrent_v2(context) == 0
    yield raw
    software_gpu.reset()


def size(count: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(count)


def block(raw: Raw, count: int = 64) -> ctypes.c_uint64:
    return raw.out("cuMemAlloc_v2", size(count))


def locked(raw: Raw, count: int = 64, flags: int = 0) -> ctypes.c_uint64:
    return raw.out("cuMemHostAlloc", size(count), flags)


def bytes_at(address: ctypes.c_uint64, count: int = 64) -> bytes:
    return ctypes.string_at(address.value, count)


def test_what_needs_a_context_is_refused_without_one(raw: Raw) -> None:
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(raw.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), size(8)))
    )
    thread.start()
    thread.join()
    assert codes == [INVALID_CONTEXT]
    assert raw.gpu.count("refused") == 1
    assert raw.gpu.last_refusal == f"cuMemAlloc_v2: {INVALID_CONTEXT}"


def test_a_stream_waits_for_an_event_of_another(raw: Raw) -> None:
    first, second = raw.out("cuStreamCreate", 0), raw.out("cuStreamCreate", 0)
    event, here, there = raw.out("cuEventCreate", 0), locked(raw), block(raw)
    ctypes.memset(here.value or 0, 3, 64)
    raw.cuMemcpyHtoDAsync_v2(there, here, size(64), first)
    raw.cuEventRecord(event, first)
    raw.cuStreamWaitEvent(second, event, 0)
    assert raw.cuStreamSynchronize(second) == 0
    assert bytes_at(there) == b"\x03" * 64


def test_copies_outside_of_blocks_are_refused(raw: Raw) -> None:
    stream, here, there = raw.out("cuStreamCreate", 0), locked(raw), block(raw)
    pageable = ctypes.create_string_buffer(64)
    assert raw.cuMemcpyHtoDAsync_v2(there, here, size(65), stream) == INVALID_VALUE
    assert raw.cuMemcpyHtoDAsync_v2(there, pageable, size(64), stream) == INVALID_VALUE
    assert raw.cuMemcpyHtoDAsync_v2(here, here, size(64), stream) == INVALID_VALUE
    assert raw.cuMemcpyHtoDAsync_v2(there, here, size(64), None) == INVALID_HANDLE


def test_memory_freed_in_flight_ruins_the_context(raw: Raw) -> None:
    stream, here, there = raw.out("cuStreamCreate", 0), locked(raw), block(raw)
    raw.cuMemcpyHtoDAsync_v2(there, here, size(64), stream)
    assert raw.cuMemFreeHost(here) == 0
    assert raw.cuStreamSynchronize(stream) == ILLEGAL_ADDRESS
    assert raw.cuMemFree_v2(there) == ILLEGAL_ADDRESS


def test_what_is_unknown_gone_or_busy_is_refused(raw: Raw) -> None:
    for free, known in ((raw.cuMemFree_v2, block(raw)), (raw.cuMemFreeHost, locked(raw))):
        codes = [free(address) for address in (ctypes.c_uint64(64), known, known)]
        assert codes == [INVALID_VALUE, 0, INVALID_VALUE]
    stream, event = raw.out("cuStreamCreate", 0), raw.out("cuEventCreate", 0)
    assert raw.cuStreamDestroy_v2(stream) == raw.cuEventDestroy_v2(event) == 0
    assert raw.cuStreamSynchronize(stream) == raw.cuEventSynchronize(event) == INVALID_HANDLE
    stream, here, there = raw.out("cuStreamCreate", 0), locked(raw), block(raw)
    raw.cuMemcpyHtoDAsync_v2(there, here, size(64), stream)
    assert raw.cuStreamDestroy_v2(stream) == NOT_PERMITTED


def test_writing_past_a_block_is_found_when_it_is_freed(raw: Raw) -> None:
    there, here = block(raw, 10), locked(raw, 10)
    ctypes.memset((there.value or 0) + 10, 0, 1)
    ctypes.memset((here.value or 0) - 1, 0, 1)
    assert raw.cuMemFree_v2(there) == raw.cuMemFreeHost(here) == ILLEGAL_ADDRESS
    assert raw.gpu.count("overruns") == 2


def test_a_host_function_may_not_call_the_driver(raw: Raw) -> None:
    stream = raw.out("cuStreamCreate", 0)
    codes = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    callback = kind(lambda _: codes.append(raw.cuCtxSynchronize()))
    assert raw.cuLaunchHostFunc(stream, callback, None) == 0
    assert codes == []
    assert raw.cuStreamSynchronize(stream) == 0
    assert codes == [NOT_PERMITTED]


def test_with_the_last_reference_the_context_goes_and_what_lived_in_it_is_lost(raw: Raw) -> None:
    block(raw), raw.out("cuStreamCreate", 0)
    assert raw.cuDevicePrimaryCtxRelease_v2(0) == 0
    assert raw.gpu.count("lost") == 2
    assert raw.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), size(8)) == CONTEXT_IS_DESTROYED
    assert raw.cuDevicePrimaryCtxRelease_v2(0) == INVALID_CONTEXT


def test_leaks_are_reported(raw: Raw) -> None:
    block(raw)
    with pytest.raises(AssertionError, match="'device_blocks': 1, 'references': 1, 'depth': 1"):
        raw.gpu.assert_clean()
