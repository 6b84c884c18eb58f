"""Whose thread it is, and that nothing is left behind whatever happens."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.cuda import Library, open_cuda
from edge.cuda.base import Cuda
from edge.errors import GpuError
from tests.software_cuda import ILLEGAL_ADDRESS, OUT_OF_MEMORY, PROBE, SoftwareGpu, environment

ROOT = Path(__file__).resolve().parents[3]


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


def test_leaving_frees_what_was_not_freed(library: Library, software_gpu: SoftwareGpu) -> None:
    with open_cuda(library=library) as cuda:
        use(cuda)
        assert software_gpu.count("device_blocks") == software_gpu.count("host_blocks") == 1
        assert software_gpu.count("streams") == software_gpu.count("events") == 1
        assert cuda.stream > 2  # the handles 0, 1 and 2 mean default streams
    software_gpu.assert_clean()
    assert_over(software_gpu)


def test_leaving_waits_for_the_stream(library: Library, software_gpu: SoftwareGpu) -> None:
    with open_cuda(library=library) as cuda:
        use(cuda)
        assert software_gpu.count("copies") == 0
    assert software_gpu.count("copies") == 2


def test_what_the_body_raises_gets_through(library: Library, software_gpu: SoftwareGpu) -> None:
    with pytest.raises(Stumbled), open_cuda(library=library) as cuda:
        use(cuda)
        raise Stumbled
    assert_over(software_gpu)


def test_objects_kept_by_a_traceback_do_not_outlive_the_context(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    def fail(cuda: Cuda) -> None:
        kernel, event = cuda.kernel(PROBE.read_text(), "scale"), cuda.event()
        block, host = cuda.allocate(8), cuda.page_locked((2,), np.int32)
        raise Stumbled(kernel, event, block, host)

    with pytest.raises(Stumbled) as caught, open_cuda(library=library) as cuda:
        fail(cuda)
    software_gpu.assert_clean()
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
    library: Library, software_gpu: SoftwareGpu, compiler: None, routine: str
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
    with pytest.raises(GpuError, match="ILLEGAL_ADDRESS") as caught, open_cuda(0, library) as cuda:
        use_all(cuda)
    software_gpu.assert_clean(allow_refused=True)
    assert caught.traceback
    software_gpu.reset()


@pytest.mark.parametrize(
    "routine", ["cuMemFree_v2", "cuMemFreeHost", "cuEventDestroy_v2", "cuStreamDestroy_v2"]
)
def test_a_free_that_fails_keeps_nothing_from_being_left(
    library: Library, software_gpu: SoftwareGpu, routine: str
) -> None:
    software_gpu.fail(routine, ILLEGAL_ADDRESS, times=1)
    cuda = open_cuda(library=library)
    try:
        with cuda:
            use(cuda)
    except GpuError as error:  # pycuda itself prints such a failure, and raises nothing
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(error)
        assert library == "cuda-python"
    assert_over(software_gpu)
    assert software_gpu.count("lost") == 1
    software_gpu.reset()


def test_a_failed_kernel_is_told_and_all_is_left_in_order(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    told = "cuStreamSynchronize with CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(GpuError, match=told), open_cuda(library=library) as cuda:
        kernel, block = cuda.kernel(PROBE.read_text(), "overrun"), cuda.allocate(64)
        software_gpu.fail("kernel", ILLEGAL_ADDRESS, times=1)
        kernel.launch((1, 1, 1), (1, 1, 1), (np.uint64(block.pointer), np.int32(1)))
        cuda.synchronize()
    assert_over(software_gpu)
    software_gpu.reset()
    with open_cuda(library=library) as cuda:
        use(cuda)


def test_a_failure_at_the_end_is_told_where_the_body_was_content(
    library: Library, software_gpu: SoftwareGpu
) -> None:
    told = "cuStreamSynchronize with CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(GpuError, match=told), open_cuda(library=library) as cuda:
        use(cuda)
        software_gpu.fail("cuStreamSynchronize", ILLEGAL_ADDRESS, times=1)
    assert_over(software_gpu)
    software_gpu.reset()


@pytest.mark.parametrize(
    "routine", ["cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuStreamCreate"]
)
def test_entering_that_fails_leaves_nothing_and_can_be_tried_again(
    library: Library, software_gpu: SoftwareGpu, routine: str
) -> None:
    software_gpu.fail(routine, OUT_OF_MEMORY, times=1)
    cuda = open_cuda(library=library)
    with pytest.raises(GpuError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        cuda.__enter__()
    software_gpu.assert_clean(allow_refused=True)
    with cuda:
        use(cuda)
    software_gpu.assert_clean(allow_refused=True)
    software_gpu.reset()


def test_one_after_another(library: Library, software_gpu: SoftwareGpu) -> None:
    for _ in range(3):
        with open_cuda(library=library) as cuda:
            use(cuda)
    software_gpu.assert_clean()


def test_one_within_another(library: Library, software_gpu: SoftwareGpu) -> None:
    with open_cuda(library=library) as outer:
        with open_cuda(library=library) as inner:
            use(inner)
        use(outer)


def test_the_two_libraries_within_each_other(software_gpu: SoftwareGpu) -> None:
    pytest.importorskip("cuda.bindings", reason="needs cuda-python")
    pytest.importorskip("pycuda.driver", reason="needs pycuda")
    for outer, inner in (("pycuda", "cuda-python"), ("cuda-python", "pycuda")):
        with open_cuda(library=outer) as first:  # type: ignore[arg-type]
            with open_cuda(library=inner) as second:  # type: ignore[arg-type]
                use(second)
            use(first)
    software_gpu.assert_clean()


def test_entering_twice_is_refused(library: Library, software_gpu: SoftwareGpu) -> None:
    with open_cuda(library=library) as cuda:
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
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    refused: list[str] = []

    def try_all(tried: dict[str, Callable[[], object]]) -> None:
        for name, call in tried.items():
            try:
                call()
            except RuntimeError as error:
                assert "belongs to another thread" in str(error)
                refused.append(name)

    with open_cuda(library=library) as cuda:
        tried = calls(cuda)
        thread = threading.Thread(target=try_all, args=(tried,))
        thread.start()
        thread.join()
        assert refused == list(tried)
        assert software_gpu.count("refused") == 0  # the driver has seen none of them


def test_after_leaving_everything_is_refused(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda(library=library) as cuda:
        tried = calls(cuda)
    for name, call in tried.items():
        if name.startswith("free a") or name.startswith("free page"):
            call()  # was freed, and twice is once
        else:
            with pytest.raises(RuntimeError, match="is not entered"):
                call()
    software_gpu.assert_clean()


def test_what_was_freed_is_refused(library: Library, software_gpu: SoftwareGpu) -> None:
    with open_cuda(library=library) as cuda:
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
        cuda = open_cuda(library={library!r}).__enter__()
        cuda.allocate(64), cuda.page_locked((4,), np.int32), cuda.event()
        return cuda

    def work():
        with open_cuda(library={library!r}) as cuda:
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
def test_a_process_ends_cleanly(software_cuda: Path, library: Library, ending: str) -> None:
    script = textwrap.dedent(_PRELUDE.format(library=library)) + _ENDINGS[ending]
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
