"""Memory, copies, events and kernels; whose thread it is, and that nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge.cuda import open_cuda
from edge.errors import GpuError
from tests.software_cuda import ILLEGAL_ADDRESS, OUT_OF_MEMORY, PROBE, SoftwareGpu, environment

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda

ROOT = Path(__file__).resolve().parents[3]
NVCC = f"{os.environ['PATH']}:/usr/local/cuda/bin"
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@pytest.fixture
def cuda(software_gpu: SoftwareGpu) -> Iterator[Cuda]:
    with open_cuda() as cuda:
        yield cuda


def test_what_is_copied_in_comes_out(cuda: Cuda) -> None:
    here, there = cuda.page_locked((3, 4), np.float32), cuda.page_locked((3, 4), np.float32)
    block, *others = [cuda.allocate(nbytes) for nbytes in (here.array.nbytes, 1, 300)]
    assert all(each.pointer % 256 == 0 for each in (block, *others))
    here.array[:] = np.arange(12).reshape(3, 4)
    cuda.copy_in(block.pointer, here.array)
    cuda.copy_out(there.array, block.pointer)
    assert not np.array_equal(here.array, there.array)  # it was not waited for yet
    cuda.synchronize()
    assert np.array_equal(here.array, there.array)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int32, np.float64])
def test_page_locked_arrays_have_their_shape_and_type(cuda: Cuda, dtype: type) -> None:
    memory = cuda.page_locked((2, 3, 5), dtype)
    assert memory.array.shape == (2, 3, 5)
    assert memory.array.dtype == np.dtype(dtype)
    assert memory.array.flags.c_contiguous and memory.array.flags.writeable
    assert memory.pointer is None


def test_mapped_memory_is_read_and_written_by_kernels(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda() as cuda:
        here = cuda.page_locked((8,), np.int32, mapped=True)
        there = cuda.page_locked((8,), np.int32, mapped=True)
        assert here.pointer is not None and there.pointer is not None
        here.array[:] = range(8)
        scale(cuda, here.pointer, there.pointer, 8, 2, 1)
        cuda.synchronize()
        assert there.array.tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


def test_memory_that_cannot_be_mapped_is_refused_and_freed(refusing_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        refusing_gpu.fail("cuMemHostGetDevicePointer_v2", 801, times=1)
        with pytest.raises(GpuError, match="cuMemHostGetDevicePointer with CUDA_ERROR_NOT_SUPP"):
            cuda.page_locked((8,), np.int32, mapped=True)


def test_views_may_be_copied_and_other_arrays_not(cuda: Cuda) -> None:
    memory, block = cuda.page_locked((6, 4), np.uint8), cuda.allocate(24)
    memory.array[:] = np.arange(24).reshape(6, 4)
    cuda.copy_in(block.pointer, memory.array[2:4])
    cuda.copy_in(block.pointer + 8, memory.array.reshape(-1)[:3])
    read_only = memory.array[5:]
    read_only.flags.writeable = False
    cuda.copy_in(block.pointer + 11, read_only)
    cuda.synchronize()
    copied = bytes((ctypes.c_ubyte * 15).from_address(block.pointer))
    assert list(copied) == [*range(8, 16), 0, 1, 2, *range(20, 24)]
    for other in (np.zeros(8, np.uint8), memory.array[:, :2], memory.array[:2].copy()):
        with pytest.raises(ValueError, match="copies take page-locked memory of this Cuda object"):
            cuda.copy_in(block.pointer, other)
        with pytest.raises(ValueError, match="copies take page-locked memory of this Cuda object"):
            cuda.copy_out(other, block.pointer)


def test_a_copy_outside_of_a_block_has_cudas_name(refusing_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        memory, block = cuda.page_locked((9,), np.uint8), cuda.allocate(8)
        with pytest.raises(GpuError, match="cuMemcpyHtoDAsync with CUDA_ERROR_INVALID_VALUE: inva"):
            cuda.copy_in(block.pointer, memory.array)
        with pytest.raises(GpuError, match="cuMemcpyDtoHAsync with CUDA_ERROR_INVALID_VALUE: inva"):
            cuda.copy_out(memory.array, block.pointer)


def test_out_of_memory_says_how_much(refusing_gpu: SoftwareGpu) -> None:
    refusing_gpu.set(total_bytes=40 << 20)
    with open_cuda() as cuda:
        cuda.allocate(8 << 20)
        assert cuda.free_bytes() == 32 << 20
        message = r"requested 64\.0 MiB of the GPU's memory, 32\.0 MiB of 40\.0 MiB is free"
        with pytest.raises(GpuError, match=message):
            cuda.allocate(64 << 20)
        message = r"requested 33\.0 MiB of page-locked memory, 32\.0 MiB of 40\.0 MiB is free"
        with pytest.raises(GpuError, match=message):
            cuda.page_locked((33, 1 << 20), np.uint8)
        cuda.allocate(1 << 20)  # the rest goes on


def test_out_of_memory_is_reported_where_even_that_is_unknown(refusing_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        refusing_gpu.fail("cuMemAlloc_v2", OUT_OF_MEMORY)
        refusing_gpu.fail("cuMemGetInfo_v2", 999)
        with pytest.raises(GpuError, match=r"requested 1\.0 MiB .*, an unknown part of"):
            cuda.allocate(1 << 20)


def test_events_time_what_lies_between(cuda: Cuda, software_gpu: SoftwareGpu) -> None:
    first, second = cuda.event(timing=True), cuda.event(timing=True)
    pause = HOST_FUNCTION(lambda _: time.sleep(0.02))
    first.record()
    in_stream(software_gpu, cuda, pause)
    second.record()
    second.wait()
    assert 20 <= second.elapsed_ms(first) < 2_000


def test_events_do_not_time_unless_asked(refusing_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        first, second = cuda.event(), cuda.event()
        first.record()
        second.record()
        second.wait()
        with pytest.raises(GpuError, match="cuEventElapsedTime with CUDA_ERROR_INVALID_HANDLE"):
            second.elapsed_ms(first)


def test_an_event_waits_for_its_turn_only(cuda: Cuda, software_gpu: SoftwareGpu) -> None:
    memory, block, event = cuda.page_locked((4,), np.uint8), cuda.allocate(4), cuda.event()
    event.wait()  # never recorded: nothing to wait for
    cuda.copy_in(block.pointer, memory.array)
    event.record()
    cuda.copy_out(memory.array, block.pointer)
    event.wait()
    assert software_gpu.count("copies") == 1


@pytest.mark.parametrize("wait", ["event", "stream"])
def test_other_threads_run_while_one_waits(
    cuda: Cuda, software_gpu: SoftwareGpu, wait: str
) -> None:
    software_gpu.set(delay_us=200_000)
    event = cuda.event()
    event.record()
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.005):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.monotonic()
    event.wait() if wait == "event" else cuda.synchronize()
    done = time.monotonic()
    stop.set()
    thread.join()
    assert done - start >= 0.2
    assert sum(start < moment < done for moment in ticks) > 5


def in_stream(gpu: SoftwareGpu, cuda: Cuda, callback: object) -> None:
    """Put a function of the CPU into the stream."""
    assert gpu.library.cuLaunchHostFunc(ctypes.c_void_p(cuda.stream), callback, None) == 0


def scale(cuda: Cuda, source: int, target: int, count: int, factor: int, offset: int) -> None:
    kernel = cuda.kernel(PROBE.read_text(), "scale")
    pointers = (np.uint64(source), np.uint64(target))
    numbers = (np.int32(count), np.int32(factor), np.int64(offset))
    kernel.launch((-(-count // 32), 1, 1), (32, 1, 1), (*pointers, *numbers))


def test_arguments_reach_a_kernel_with_all_their_bits(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda() as cuda:
        memory, block = cuda.page_locked((70,), np.int32), cuda.allocate(280)
        memory.array[:] = range(70)
        cuda.copy_in(block.pointer, memory.array)
        scale(cuda, block.pointer, block.pointer, 70, -3, 2**40 + 5)
        cuda.copy_out(memory.array, block.pointer)
        cuda.synchronize()
        expected = (np.arange(70, dtype=np.int64) * -3 + 2**40 + 5).astype(np.int32)
        assert np.array_equal(memory.array, expected)


def test_a_function_that_is_not_in_the_source_is_refused(
    refusing_gpu: SoftwareGpu, compiler: None
) -> None:
    message = "cuModuleGetFunction with CUDA_ERROR_NOT_FOUND"
    with open_cuda() as cuda, pytest.raises(GpuError, match=message):
        cuda.kernel(PROBE.read_text(), "absent")


def test_a_source_is_compiled_and_loaded_once(software_gpu: SoftwareGpu, compiler: None) -> None:
    with open_cuda() as cuda:
        cuda.kernel(PROBE.read_text(), "scale")
        cuda.kernel(PROBE.read_text(), "overrun")
        assert software_gpu.count("modules") == 1


def test_what_a_compiler_complains_of_is_reported(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    if shutil.which("nvcc", path=NVCC) is None:
        pytest.skip("needs nvcc")
    message = r"nvcc cannot compile a kernel for sm_87: .*error: .*\"absent\" is undefined\.$"
    with open_cuda() as cuda, pytest.raises(GpuError, match=message):
        cuda.kernel('extern "C" __global__ void scale() { absent(); }', "scale")


def test_pycudas_cache_may_be_out_of_reach(
    software_gpu: SoftwareGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("nvcc", path=NVCC) is None:
        pytest.skip("needs nvcc")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with open_cuda() as cuda:
        cuda.kernel(PROBE.read_text(), "scale")


def test_without_nvcc_pycuda_says_so(
    software_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edge.cuda.pycuda as module

    for name in ("CUDA_HOME", "CUDA_ROOT", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "USUAL_CUDA", "/nowhere")
    message = "compiles kernels with nvcc, and there is none on the PATH or in /nowhere"
    with open_cuda() as cuda, pytest.raises(GpuError, match=message):
        cuda.kernel(PROBE.read_text(), "scale")


class Stumbled(Exception):
    """What a test's body raises."""


def use(cuda: Cuda) -> None:
    """A bit of everything, none of it freed."""
    host = cuda.page_locked((4, 5), np.int32)
    host.array[:] = 3
    block = cuda.allocate(host.array.nbytes)
    cuda.copy_in(block.pointer, host.array)
    cuda.copy_out(host.array, block.pointer)
    cuda.event(timing=True).record()


def assert_over(gpu: SoftwareGpu) -> None:
    """The thread is as it was, and the context is held no more, whatever became of the rest."""
    assert gpu.count("depth") == 0
    assert gpu.count("references") == 0
    assert gpu.count("pushes") == gpu.count("pops") > 0


def test_leaving_waits_and_frees_what_was_not_freed(software_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        use(cuda)
        assert software_gpu.count("device_blocks") == software_gpu.count("host_blocks") == 1
        assert software_gpu.count("streams") == software_gpu.count("events") == 1
        assert cuda.stream > 2  # the handles 0, 1 and 2 mean default streams
        assert software_gpu.count("copies") == 0
    assert software_gpu.count("copies") == 2
    software_gpu.assert_clean()
    assert_over(software_gpu)


def test_objects_kept_by_a_traceback_do_not_outlive_the_context(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    def fail(cuda: Cuda) -> None:
        kernel, event = cuda.kernel(PROBE.read_text(), "scale"), cuda.event()
        block, host = cuda.allocate(8), cuda.page_locked((2,), np.int32)
        raise Stumbled(kernel, event, block, host)

    with pytest.raises(Stumbled) as caught, open_cuda() as cuda:
        fail(cuda)
    software_gpu.assert_clean()
    assert_over(software_gpu)
    assert len(caught.value.args) == 4


@pytest.mark.parametrize(
    "routine",
    [
        "cuStreamSynchronize",
        "cuEventSynchronize",
        "cuEventRecord",
        "cuLaunchKernel",
        "cuMemcpyHtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2",
    ],
)
def test_the_traceback_of_a_refusal_keeps_nothing_alive(
    software_gpu: SoftwareGpu, compiler: None, routine: str
) -> None:
    def use_all(cuda: Cuda) -> None:
        use(cuda)
        kernel, block = cuda.kernel(PROBE.read_text(), "overrun"), cuda.allocate(64)
        kernel.launch((1, 1, 1), (1, 1, 1), (np.uint64(block.pointer), np.int32(1)))
        event = cuda.event()
        event.record()
        event.wait()
        cuda.synchronize()

    software_gpu.fail(routine, ILLEGAL_ADDRESS, times=1)
    with pytest.raises(GpuError, match="ILLEGAL_ADDRESS") as caught, open_cuda() as cuda:
        use_all(cuda)
    software_gpu.assert_clean(allow_refused=True)
    assert caught.traceback
    software_gpu.reset()


@pytest.mark.parametrize(
    "routine", ["cuMemFree_v2", "cuMemFreeHost", "cuEventDestroy_v2", "cuStreamDestroy_v2"]
)
def test_a_free_that_fails_keeps_nothing_from_being_left(
    software_gpu: SoftwareGpu, routine: str
) -> None:
    software_gpu.fail(routine, ILLEGAL_ADDRESS, times=1)
    with open_cuda() as cuda:  # pycuda prints such a failure, and raises nothing
        use(cuda)
    assert_over(software_gpu)
    assert software_gpu.count("lost") == 1
    software_gpu.reset()


def test_a_failed_kernel_is_reported_and_all_is_left_in_order(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    message = "cuStreamSynchronize with CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(GpuError, match=message), open_cuda() as cuda:
        kernel, block = cuda.kernel(PROBE.read_text(), "overrun"), cuda.allocate(64)
        software_gpu.fail("kernel", ILLEGAL_ADDRESS, times=1)
        kernel.launch((1, 1, 1), (1, 1, 1), (np.uint64(block.pointer), np.int32(1)))
        cuda.synchronize()
    assert_over(software_gpu)
    software_gpu.reset()
    with open_cuda() as cuda:
        use(cuda)


def test_a_failure_at_the_end_is_reported_where_the_body_was_content(
    refusing_gpu: SoftwareGpu,
) -> None:
    message = "cuStreamSynchronize with CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(GpuError, match=message), open_cuda() as cuda:
        use(cuda)
        refusing_gpu.fail("cuStreamSynchronize", ILLEGAL_ADDRESS, times=1)
    assert_over(refusing_gpu)


@pytest.mark.parametrize(
    "routine", ["cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuStreamCreate"]
)
def test_entering_that_fails_leaves_nothing_and_can_be_tried_again(
    refusing_gpu: SoftwareGpu, routine: str
) -> None:
    refusing_gpu.fail(routine, OUT_OF_MEMORY, times=1)
    cuda = open_cuda()
    with pytest.raises(GpuError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        cuda.__enter__()
    refusing_gpu.assert_clean(allow_refused=True)
    with cuda:
        use(cuda)


def test_one_within_another(software_gpu: SoftwareGpu) -> None:
    with open_cuda() as outer:
        with open_cuda() as inner:
            use(inner)
        use(outer)


def test_entering_twice_is_refused(software_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        with pytest.raises(RuntimeError, match="has been entered already"):
            cuda.__enter__()
        use(cuda)


def calls(cuda: Cuda) -> dict[str, Callable[[], object]]:
    """Every call of the seam but entering, on things that were made on the owning thread."""
    host, block = cuda.page_locked((4,), np.uint8), cuda.allocate(4)
    event, earlier = cuda.event(timing=True), cuda.event(timing=True)
    kernel = cuda.kernel(PROBE.read_text(), "overrun")
    arguments = (np.uint64(block.pointer), np.int32(0))
    return {
        "free_bytes": cuda.free_bytes,
        "allocate": lambda: cuda.allocate(4),
        "page_locked": lambda: cuda.page_locked((4,), np.uint8),
        "copy_in": lambda: cuda.copy_in(block.pointer, host.array),
        "copy_out": lambda: cuda.copy_out(host.array, block.pointer),
        "event": cuda.event,
        "synchronize": cuda.synchronize,
        "kernel": lambda: cuda.kernel(PROBE.read_text(), "scale"),
        "launch": lambda: kernel.launch((1, 1, 1), (1, 1, 1), arguments),
        "record": event.record,
        "wait": event.wait,
        "elapsed_ms": lambda: event.elapsed_ms(earlier),
        "free a block": block.free,
        "free page-locked memory": host.free,
        "leave": lambda: cuda.__exit__(None, None, None),
    }


def test_another_thread_is_refused_before_cuda_is_called(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    refused: list[str] = []

    def try_all(tried: dict[str, Callable[[], object]]) -> None:
        for name, call in tried.items():
            try:
                call()
            except RuntimeError as error:
                assert "belongs to another thread" in str(error)
                refused.append(name)

    with open_cuda() as cuda:
        tried = calls(cuda)
        thread = threading.Thread(target=try_all, args=(tried,))
        thread.start()
        thread.join()
        assert refused == list(tried)
        assert software_gpu.count("refused") == 0  # the driver has seen none of them


def test_after_leaving_everything_is_refused(software_gpu: SoftwareGpu, compiler: None) -> None:
    with open_cuda() as cuda:
        tried = calls(cuda)
    for name, call in tried.items():
        if name.startswith("free a") or name.startswith("free page"):
            call()  # was freed, and twice is once
        else:
            with pytest.raises(RuntimeError, match="is not entered"):
                call()
    software_gpu.assert_clean()


def test_what_was_freed_is_refused(software_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        host, block = cuda.page_locked((4,), np.uint8), cuda.allocate(4)
        for _ in range(2):
            host.free()
            block.free()
        with pytest.raises(ValueError, match="page-locked memory of this Cuda object"):
            cuda.copy_in(block.pointer, host.array)


_PRELUDE = """
    import sys, threading, time
    import numpy as np
    from edge.cuda import open_cuda

    def enter():
        cuda = open_cuda().__enter__()
        cuda.allocate(64), cuda.page_locked((4,), np.int32), cuda.event()
        return cuda

    def work():
        with open_cuda() as cuda:
            cuda.allocate(64)
            if sys.argv[1:] == ["fail"]:
                raise RuntimeError("stumbled")

    def on_a_thread(target, daemon=False):
        thread = threading.Thread(target=target, daemon=daemon)
        thread.start()
        return thread
"""
_ENDINGS = {
    "a worker that leaves": "on_a_thread(work).join()",
    "a worker whose body raises": "sys.argv.append('fail'); on_a_thread(work).join()",
    "a worker that forgets to leave": "on_a_thread(enter).join()",
    "a worker that is in the middle of it when the process ends": (
        "on_a_thread(lambda: (enter(), time.sleep(60)), daemon=True); time.sleep(0.5)"
    ),
    "the main thread that forgets to leave": "kept = enter()",
    "the main thread that exits in the middle": "with open_cuda() as cuda: sys.exit(0)",
}


@pytest.mark.parametrize("ending", _ENDINGS)
def test_a_process_ends_cleanly(software_cuda: Path, ending: str) -> None:
    script = textwrap.dedent(_PRELUDE) + _ENDINGS[ending]
    script += textwrap.dedent(
        """
        import ctypes
        count = ctypes.CDLL("libcuda.so.1").software_count
        print(*(count(what) for what in (b"references", b"lost", b"refused")))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(software_cuda),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "PyCUDA" not in done.stderr
    if "worker that" in ending and "middle" not in ending:
        assert done.stdout.split() == ["0", "0", "0"]
