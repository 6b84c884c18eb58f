"""Memory, copies, events and kernels; whose thread it is, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge.cuda import open_cuda
from edge.errors import GpuError
from tests.programs import in_python
from tests.software_cuda import ILLEGAL_ADDRESS, OUT_OF_MEMORY, PROBE, SoftwareGpu, environment

if TYPE_CHECKING:
    from edge.cuda.pycuda import Cuda

NVCC = f"{os.environ['PATH']}:/usr/local/cuda/bin"
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@pytest.fixture
def cuda(software_gpu: SoftwareGpu) -> Iterator[Cuda]:
    with open_cuda() as cuda:
        yield cuda


def test_what_is_copied_in_comes_out(cuda: Cuda) -> None:
    here, block = cuda.mirrored((3, 4), np.float32), cuda.allocate(1)
    assert here.array.flags.c_contiguous and here.array.flags.writeable
    assert here.pointer % 256 == block.pointer % 256 == 0
    here.array[:] = np.arange(12).reshape(3, 4)
    here.copy_in(2)
    cuda.synchronize()
    here.array[:] = 0
    here.copy_out(2)
    assert not here.array.any()  # it was not waited for yet
    cuda.synchronize()
    assert here.array.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 0, 0, 0]]


def test_mapped_memory_is_read_and_written_by_kernels(
    software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda() as cuda:
        here, there = (cuda.mirrored((8,), np.int32, mapped=True) for _ in range(2))
        here.array[:] = range(8)
        here.copy_in()
        scale(cuda, here.pointer, there.pointer, 8, 2, 1)
        cuda.synchronize()
        assert there.array.tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
        assert software_gpu.count("copies") == software_gpu.count("device_blocks") == 0


def test_memory_that_cannot_be_mapped_is_refused_and_freed(refusing_gpu: SoftwareGpu) -> None:
    with open_cuda() as cuda:
        refusing_gpu.fail("cuMemHostGetDevicePointer_v2", 801, times=1)
        with pytest.raises(GpuError, match="cuMemHostGetDevicePointer with CUDA_ERROR_NOT_SUPP"):
            cuda.mirrored((8,), np.int32, mapped=True)


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
            cuda.mirrored((33, 1 << 20), np.uint8)
        cuda.allocate(1 << 20)  # the rest goes on
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
    assert second.elapsed_ms(first) >= 20


def test_an_event_waits_for_its_turn_only(cuda: Cuda, software_gpu: SoftwareGpu) -> None:
    memory, event = cuda.mirrored((4,), np.uint8), cuda.event()
    event.wait()  # never recorded: nothing to wait for
    memory.copy_in()
    event.record()
    memory.copy_out()
    event.wait()
    assert software_gpu.count("copies") == 1


@pytest.mark.parametrize("wait", ["event", "stream"])
def test_other_threads_run_while_one_waits(
    cuda: Cuda, software_gpu: SoftwareGpu, wait: str
) -> None:
    waited_for, event = threading.Event(), cuda.event()
    hold = HOST_FUNCTION(lambda _: waited_for.wait(60))
    in_stream(software_gpu, cuda, hold)
    event.record()
    main = threading.get_ident()

    def release() -> None:
        while sys._current_frames()[main].f_code.co_name not in ("wait", "synchronize"):
            time.sleep(0.001)
        waited_for.set()

    thread = threading.Thread(target=release)
    thread.start()
    # The GPU waits for another thread, which cannot run if this one keeps the interpreter.
    event.wait() if wait == "event" else cuda.synchronize()
    assert waited_for.is_set()
    thread.join()


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
        memory = cuda.mirrored((70,), np.int32)
        memory.array[:] = range(70)
        memory.copy_in()
        scale(cuda, memory.pointer, memory.pointer, 70, -3, 2**40 + 5)
        memory.copy_out()
        cuda.synchronize()
        expected = (np.arange(70, dtype=np.int64) * -3 + 2**40 + 5).astype(np.int32)
        assert np.array_equal(memory.array, expected)


def test_a_source_is_compiled_once_and_an_absent_function_is_refused(
    refusing_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda() as cuda:
        cuda.kernel(PROBE.read_text(), "scale")
        cuda.kernel(PROBE.read_text(), "overrun")
        assert refusing_gpu.count("modules") == 1
        with pytest.raises(GpuError, match="cuModuleGetFunction with CUDA_ERROR_NOT_FOUND"):
            cuda.kernel(PROBE.read_text(), "absent")


def test_a_graph_does_again_what_was_captured_and_a_failure_leaves_no_trace(
    refusing_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda() as cuda:
        memory = cuda.mirrored((4,), np.int32)

        def put() -> None:
            memory.copy_in()
            scale(cuda, memory.pointer, memory.pointer, 4, 2, 1)
            memory.copy_out()

        put()
        cuda.synchronize()
        graph = cuda.capture(put)
        for start in (1, 5):
            memory.array[:] = start
            graph.launch()
            assert memory.array[0] == start
            cuda.synchronize()
            assert memory.array.tolist() == [2 * start + 1] * 4
        assert refusing_gpu.count("graph_launches") == 2 and refusing_gpu.count("launches") == 1
        with pytest.raises(GpuError, match="cuStreamEndCapture with error 901"):
            cuda.capture(lambda: wait_within(cuda))
        with pytest.raises(Stumbled):
            cuda.capture(stumble)
        refusing_gpu.fail("cuGraphInstantiateWithFlags", 801, times=1)
        with pytest.raises(GpuError, match="cuGraphInstantiateWithFlags with CUDA_ERROR_NOT_SUPP"):
            cuda.capture(put)
        put()  # the plain way is as it was
        cuda.synchronize()
        assert memory.array.tolist() == [23] * 4
        assert refusing_gpu.count("graphs") == 1
        graph.free()
        graph.free()  # twice is once


def wait_within(cuda: Cuda) -> None:
    with contextlib.suppress(GpuError):
        cuda.synchronize()


def stumble() -> None:
    raise Stumbled


def test_code_for_another_gpu_says_where_it_lies(
    refusing_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edge.cuda.pycuda as module

    header = bytearray(64)
    header[:4], header[8], header[49] = b"\x7fELF", 8, 110  # sm_110, as CUDA 13 writes it
    monkeypatch.setattr(module, "_compiled", lambda source, arch: bytes(header))
    with open_cuda() as cuda, pytest.raises(GpuError, match=r"NO_BINARY_FOR_GPU.*\.cache/pycuda"):
        cuda.kernel(PROBE.read_text(), "scale")


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
    memory = cuda.mirrored((4, 5), np.int32)
    memory.array[:] = 3
    memory.copy_in()
    memory.copy_out()
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
        raise Stumbled(kernel, event, cuda.allocate(8), cuda.mirrored((2,), np.int32))

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


_PRELUDE = """
    import sys, threading, time
    import numpy as np
    from edge.cuda import open_cuda

    def enter():
        cuda = open_cuda().__enter__()
        cuda.allocate(64), cuda.mirrored((4,), np.int32), cuda.event()
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
    "a worker that is in the middle of it when the process ends": (
        "on_a_thread(lambda: (enter(), time.sleep(60)), daemon=True); time.sleep(0.5)"
    ),
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
    done = in_python(script, environment=environment(software_cuda))
    assert done.returncode == 0, done.stderr
    assert "PyCUDA" not in done.stderr
    if "worker that" in ending and "middle" not in ending:
        assert done.stdout.split() == ["0", "0", "0"]
