"""Memory, copies, events and kernels."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.cuda import Library, open_cuda
from edge.cuda.base import Cuda
from edge.errors import GpuError, MissingDependency
from tests.software_cuda import INVALID_IMAGE, OUT_OF_MEMORY, PROBE, SoftwareGpu
from tests.software_cuda.fixtures import need_library

NVCC = f"{os.environ['PATH']}:/usr/local/cuda/bin"
HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@pytest.fixture
def cuda(library: Library, software_gpu: SoftwareGpu) -> Iterator[Cuda]:
    with open_cuda(library=library) as cuda:
        yield cuda


def test_what_is_copied_in_comes_out(cuda: Cuda) -> None:
    here, there = cuda.page_locked((3, 4), np.float32), cuda.page_locked((3, 4), np.float32)
    block = cuda.allocate(here.array.nbytes)
    here.array[:] = np.arange(12).reshape(3, 4)
    cuda.copy_in(block.pointer, here.array)
    cuda.copy_out(there.array, block.pointer)
    assert not np.array_equal(here.array, there.array)  # it was not waited for yet
    cuda.synchronize()
    assert np.array_equal(here.array, there.array)


def test_blocks_are_aligned_and_known_by_size(cuda: Cuda) -> None:
    blocks = [cuda.allocate(nbytes) for nbytes in (1, 300, 7)]
    assert [block.nbytes for block in blocks] == [1, 300, 7]
    assert all(block.pointer % 256 == 0 for block in blocks)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int32, np.float64])
def test_page_locked_arrays_have_their_shape_and_type(cuda: Cuda, dtype: type) -> None:
    memory = cuda.page_locked((2, 3, 5), dtype)
    assert memory.array.shape == (2, 3, 5)
    assert memory.array.dtype == np.dtype(dtype)
    assert memory.array.flags.c_contiguous and memory.array.flags.writeable
    assert memory.pointer is None


def test_mapped_memory_is_read_and_written_by_kernels(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda(library=library) as cuda:
        here = cuda.page_locked((8,), np.int32, mapped=True)
        there = cuda.page_locked((8,), np.int32, mapped=True)
        assert here.pointer is not None and there.pointer is not None
        here.array[:] = range(8)
        scale(cuda, here.pointer, there.pointer, 8, 2, 1)
        cuda.synchronize()
        assert there.array.tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


def test_memory_that_cannot_be_mapped_is_refused_and_freed(
    library: Library, software_gpu: SoftwareGpu
) -> None:
    with open_cuda(library=library) as cuda:
        software_gpu.fail("cuMemHostGetDevicePointer_v2", 801, times=1)
        with pytest.raises(GpuError, match="cuMemHostGetDevicePointer with CUDA_ERROR_NOT_SUPP"):
            cuda.page_locked((8,), np.int32, mapped=True)
    software_gpu.assert_clean(allow_refused=True)
    software_gpu.reset()


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


def test_a_copy_outside_of_a_block_has_cudas_name(
    library: Library, software_gpu: SoftwareGpu
) -> None:
    with open_cuda(library=library) as cuda:
        memory, block = cuda.page_locked((9,), np.uint8), cuda.allocate(8)
        with pytest.raises(GpuError, match="cuMemcpyHtoDAsync with CUDA_ERROR_INVALID_VALUE: inva"):
            cuda.copy_in(block.pointer, memory.array)
        with pytest.raises(GpuError, match="cuMemcpyDtoHAsync with CUDA_ERROR_INVALID_VALUE: inva"):
            cuda.copy_out(memory.array, block.pointer)
    software_gpu.reset()


def test_out_of_memory_says_how_much(library: Library, software_gpu: SoftwareGpu) -> None:
    software_gpu.set(total_bytes=40 << 20)
    with open_cuda(library=library) as cuda:
        cuda.allocate(8 << 20)
        assert cuda.free_bytes() == 32 << 20
        told = r"asked for 64\.0 MiB of the GPU's memory, 32\.0 MiB of 40\.0 MiB is free"
        with pytest.raises(GpuError, match=told):
            cuda.allocate(64 << 20)
        told = r"asked for 33\.0 MiB of page-locked memory, 32\.0 MiB of 40\.0 MiB is free"
        with pytest.raises(GpuError, match=told):
            cuda.page_locked((33, 1 << 20), np.uint8)
        cuda.allocate(1 << 20)  # the rest goes on
    software_gpu.assert_clean(allow_refused=True)
    software_gpu.reset()


def test_out_of_memory_is_told_where_even_that_is_unknown(
    library: Library, software_gpu: SoftwareGpu
) -> None:
    with open_cuda(library=library) as cuda:
        software_gpu.fail("cuMemAlloc_v2", OUT_OF_MEMORY)
        software_gpu.fail("cuMemGetInfo_v2", 999)
        with pytest.raises(GpuError, match=r"asked for 1\.0 MiB .*, an unknown part of"):
            cuda.allocate(1 << 20)
    software_gpu.reset()


def test_events_time_what_lies_between(cuda: Cuda, software_gpu: SoftwareGpu) -> None:
    first, second = cuda.event(timing=True), cuda.event(timing=True)
    pause = HOST_FUNCTION(lambda _: time.sleep(0.02))
    first.record()
    in_stream(software_gpu, cuda, pause)
    second.record()
    second.wait()
    assert 20 <= second.elapsed_ms(first) < 2_000


def test_events_do_not_time_unless_asked(library: Library, software_gpu: SoftwareGpu) -> None:
    with open_cuda(library=library) as cuda:
        first, second = cuda.event(), cuda.event()
        first.record()
        second.record()
        second.wait()
        with pytest.raises(GpuError, match="cuEventElapsedTime with CUDA_ERROR_INVALID_HANDLE"):
            second.elapsed_ms(first)
    software_gpu.reset()


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
    begun = time.monotonic()
    event.wait() if wait == "event" else cuda.synchronize()
    done = time.monotonic()
    stop.set()
    thread.join()
    assert done - begun >= 0.2
    assert sum(begun < moment < done for moment in ticks) > 5


def test_python_runs_in_the_stream(cuda: Cuda, software_gpu: SoftwareGpu) -> None:
    memory, block = cuda.page_locked((4,), np.int32), cuda.allocate(16)
    memory.array[:] = 1, 2, 3, 4
    cuda.copy_in(block.pointer, memory.array)

    def double(_: int | None) -> None:
        there = (ctypes.c_int * 4).from_address(block.pointer)
        np.ctypeslib.as_array(there)[:] *= 2

    callback = HOST_FUNCTION(double)
    for _ in range(3):
        in_stream(software_gpu, cuda, callback)
    cuda.copy_out(memory.array, block.pointer)
    cuda.synchronize()
    assert memory.array.tolist() == [8, 16, 24, 32]
    assert software_gpu.count("host_functions") == 3


def in_stream(gpu: SoftwareGpu, cuda: Cuda, callback: object) -> None:
    """Put a function of the CPU into the stream."""
    assert gpu.library.cuLaunchHostFunc(ctypes.c_void_p(cuda.stream), callback, None) == 0


def scale(cuda: Cuda, source: int, target: int, count: int, factor: int, offset: int) -> None:
    kernel = cuda.kernel(PROBE.read_text(), "scale")
    pointers = (np.uint64(source), np.uint64(target))
    numbers = (np.int32(count), np.int32(factor), np.int64(offset))
    kernel.launch((-(-count // 32), 1, 1), (32, 1, 1), (*pointers, *numbers))


def test_arguments_reach_a_kernel_with_all_their_bits(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda(library=library) as cuda:
        memory, block = cuda.page_locked((70,), np.int32), cuda.allocate(280)
        memory.array[:] = range(70)
        cuda.copy_in(block.pointer, memory.array)
        scale(cuda, block.pointer, block.pointer, 70, -3, 2**40 + 5)
        cuda.copy_out(memory.array, block.pointer)
        cuda.synchronize()
        expected = (np.arange(70, dtype=np.int64) * -3 + 2**40 + 5).astype(np.int32)
        assert np.array_equal(memory.array, expected)


def test_a_kernel_writing_past_its_block_is_found(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda(library=library) as cuda:
        block = cuda.allocate(16)
        kernel = cuda.kernel(PROBE.read_text(), "overrun")
        kernel.launch((1, 1, 1), (1, 1, 1), (np.uint64(block.pointer), np.int32(3)))
        cuda.synchronize()
        assert software_gpu.count("overruns") == 0
        kernel.launch((1, 1, 1), (1, 1, 1), (np.uint64(block.pointer), np.int32(4)))
        cuda.synchronize()
        try:
            block.free()
        except GpuError:  # pycuda prints it only
            assert library == "cuda-python"
    assert software_gpu.count("overruns") == 1
    software_gpu.reset()


def test_a_function_that_is_not_in_the_source_is_refused(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    told = "cuModuleGetFunction with CUDA_ERROR_NOT_FOUND"
    with open_cuda(library=library) as cuda, pytest.raises(GpuError, match=told):
        cuda.kernel(PROBE.read_text(), "absent")
    software_gpu.assert_clean(allow_refused=True)
    software_gpu.reset()


def test_a_source_is_compiled_and_loaded_once(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    with open_cuda(library=library) as cuda:
        cuda.kernel(PROBE.read_text(), "scale")
        cuda.kernel(PROBE.read_text(), "overrun")
        assert software_gpu.count("modules") == 1


def test_two_thousand_rounds_beside_a_busy_thread(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    rounds, count = 2_000, 256
    with beside(_allocate_arrays), open_cuda(library=library) as cuda:
        here, there = cuda.page_locked((count,), np.int32), cuda.page_locked((count,), np.int32)
        source, target = cuda.allocate(count * 4), cuda.allocate(count * 4)
        event, numbers = cuda.event(), np.arange(count, dtype=np.int32)
        for turn in range(rounds):
            here.array[:] = numbers + turn
            cuda.copy_in(source.pointer, here.array)
            scale(cuda, source.pointer, target.pointer, count, 3, turn)
            cuda.copy_out(there.array, target.pointer)
            event.record()
            event.wait()
            assert np.array_equal(there.array, (numbers + turn) * 3 + turn)
        assert software_gpu.count("allocations") == 4
    software_gpu.assert_clean()
    assert software_gpu.count("launches") == rounds


def _allocate_arrays() -> None:
    [np.random.default_rng(i).integers(0, 9, 300 * i) for i in range(20)]


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Work on another thread, again and again, changing places with this one often."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            work()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_what_a_compiler_complains_of_is_told(
    library: Library, software_gpu: SoftwareGpu, compiler: None
) -> None:
    if library == "pycuda" and shutil.which("nvcc", path=NVCC) is None:
        pytest.skip("needs nvcc")
    told = r"(nvcc|NVRTC) cannot compile a kernel for sm_87: .*error: .*\"absent\" is undefined\.$"
    with open_cuda(library=library) as cuda, pytest.raises(GpuError, match=told):
        cuda.kernel('extern "C" __global__ void scale() { absent(); }', "scale")


def test_pycudas_cache_may_be_out_of_reach(
    software_gpu: SoftwareGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_library("pycuda")
    if shutil.which("nvcc", path=NVCC) is None:
        pytest.skip("needs nvcc")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with open_cuda(library="pycuda") as cuda:
        cuda.kernel(PROBE.read_text(), "scale")


def test_without_nvcc_pycuda_says_so(
    software_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_library("pycuda")
    import edge.cuda.pycuda as module

    for name in ("CUDA_HOME", "CUDA_ROOT", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "USUAL_CUDA", "/nowhere")
    told = "compiles kernels with nvcc, and there is none on the PATH or in /nowhere"
    with open_cuda(library="pycuda") as cuda, pytest.raises(GpuError, match=told):
        cuda.kernel(PROBE.read_text(), "scale")


def test_without_nvrtc_cuda_python_says_so(
    software_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_library("cuda-python")
    from cuda.bindings import nvrtc

    def absent() -> None:
        raise RuntimeError("Failed to dlopen libnvrtc.so.12")

    with open_cuda(library="cuda-python") as cuda:
        monkeypatch.setattr(nvrtc, "nvrtcVersion", absent)
        with pytest.raises(MissingDependency, match="Run: pip install nvidia-cuda-nvrtc"):
            cuda.kernel(PROBE.read_text(), "scale")


class TestKernelCache:
    """cuda-python's: pycuda has its own."""

    @pytest.fixture(params=["cuda-python"])
    def library(self, request: pytest.FixtureRequest) -> Library:
        pytest.importorskip("cuda.bindings", reason="needs cuda-python")
        name: Library = request.param
        return name

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        return tmp_path / "patchwatch" / "kernels"

    def load(self, source: str = PROBE.read_text()) -> None:
        with open_cuda(library="cuda-python") as cuda:
            cuda.kernel(source, "scale")

    def test_it_is_read_the_second_time(
        self, software_gpu: SoftwareGpu, compiler: None, folder: Path
    ) -> None:
        self.load()
        (file,) = folder.iterdir()
        assert file.read_bytes()[:4] == b"\x7fELF"
        file.write_bytes(b"\x7fELF and something else")
        self.load()
        assert file.read_bytes() == b"\x7fELF and something else"

    def test_what_cannot_be_loaded_is_compiled_anew(
        self, software_gpu: SoftwareGpu, compiler: None, folder: Path
    ) -> None:
        self.load()
        (file,) = folder.iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[:100])
        software_gpu.fail("cuModuleLoadData", INVALID_IMAGE, times=1)
        self.load()
        assert file.read_bytes() == whole
        software_gpu.reset()

    def test_another_source_or_gpu_is_another_file(
        self, software_gpu: SoftwareGpu, compiler: None, folder: Path
    ) -> None:
        self.load()
        self.load(PROBE.read_text() + "\n")
        software_gpu.set(minor=9)
        self.load()
        assert len(list(folder.iterdir())) == 3

    def test_a_folder_that_cannot_be_written_is_survived(
        self, software_gpu: SoftwareGpu, compiler: None, tmp_path: Path, folder: Path
    ) -> None:
        (tmp_path / "patchwatch").write_text("a file in the way")
        self.load()
        assert os.listdir(tmp_path) == ["patchwatch"]
