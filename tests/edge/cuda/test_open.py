"""Which library is taken, and what is said where none can be."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge.cuda import LIBRARIES, Library, available, open_cuda
from edge.errors import GpuError, MissingDependency
from tests.software_cuda import NO_DEVICE, SoftwareGpu
from tests.software_cuda.fixtures import need_library

ROOT = Path(__file__).resolve().parents[3]


def without(monkeypatch: pytest.MonkeyPatch, *names: Library) -> None:
    """Let libraries look as if they were not installed."""
    for name in names:
        root = {"pycuda": "pycuda", "cuda-python": "cuda.bindings"}[name]
        monkeypatch.setitem(sys.modules, root, None)
        module = {"pycuda": "pycuda", "cuda-python": "cuda_python"}[name]
        monkeypatch.delitem(sys.modules, f"edge.cuda.{module}", raising=False)


def test_pycuda_is_preferred(software_gpu: SoftwareGpu) -> None:
    need_library("pycuda")
    assert open_cuda().name == "pycuda"


def test_cuda_python_is_taken_where_pycuda_is_absent(
    software_gpu: SoftwareGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_library("cuda-python")
    without(monkeypatch, "pycuda")
    assert open_cuda().name == "cuda-python"


def test_one_can_be_asked_for(library: Library, software_gpu: SoftwareGpu) -> None:
    assert open_cuda(library=library).name == library


def test_without_either_both_are_named_with_their_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch, *LIBRARIES)
    with pytest.raises(MissingDependency, match="pycuda or cuda-python is needed to use the GPU"):
        open_cuda()
    with pytest.raises(MissingDependency, match=r"pip install 'pycuda>=\S+' or pip install 'cuda-"):
        open_cuda()


@pytest.mark.parametrize("name", LIBRARIES)
def test_one_that_is_asked_for_and_absent_is_named(
    name: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, name)
    with pytest.raises(MissingDependency, match=f"{name} is needed to use the GPU.* Run: pip"):
        open_cuda(library=name)
    assert dict(available())[name].startswith(f"{name} is needed")


def test_available_gives_versions(library: Library, software_gpu: SoftwareGpu) -> None:
    assert dict(available())[library][:4].replace(".", "").isdigit()


def test_the_gpu_is_described(library: Library, software_gpu: SoftwareGpu) -> None:
    software_gpu.set(major=7, minor=2, integrated=0, can_map=0, total_bytes=8 << 30, driver=13010)
    with open_cuda(library=library) as cuda:
        gpu = cuda.gpu
    assert (gpu.name, gpu.compute_capability) == ("Orin (software)", (7, 2))
    assert (gpu.integrated, gpu.can_map) == (False, False)
    assert (gpu.total_bytes, gpu.driver) == (8 << 30, (13, 1))


def test_another_gpu_can_be_chosen(library: Library, software_gpu: SoftwareGpu) -> None:
    software_gpu.set(devices=2)
    with open_cuda(1, library) as cuda:
        cuda.allocate(8).free()


def test_a_gpu_that_is_not_there_is_refused(library: Library, software_gpu: SoftwareGpu) -> None:
    software_gpu.set(devices=2)
    with pytest.raises(GpuError, match="Expected a GPU with index 2, found 2: choose 0 to 1"):
        open_cuda(2, library).__enter__()


@pytest.mark.parametrize("settings", [{"devices": 0}, {"init_error": NO_DEVICE}])
def test_no_gpu_is_one_sentence(
    library: Library, software_gpu: SoftwareGpu, settings: dict[str, int]
) -> None:
    software_gpu.set(**settings)
    with pytest.raises(GpuError, match="Expected an NVIDIA GPU, and the driver finds none"):
        open_cuda(library=library).__enter__()
    software_gpu.assert_clean(allow_refused=True)
    software_gpu.reset()


@pytest.mark.parametrize("driver", [11020, 10020])
def test_an_old_driver_is_refused(library: Library, software_gpu: SoftwareGpu, driver: int) -> None:
    software_gpu.set(driver=driver)
    with pytest.raises(GpuError, match=rf"{library} needs a driver for CUDA .* found one for 1"):
        open_cuda(library=library).__enter__()


def test_another_failure_of_the_start_has_cudas_name(
    library: Library, software_gpu: SoftwareGpu
) -> None:
    software_gpu.set(init_error=803)
    with pytest.raises(GpuError, match="cuInit with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"):
        open_cuda(library=library).__enter__()
    software_gpu.reset()


def run(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_driver_is_one_sentence(library: Library) -> None:
    script = f"""
        import ctypes
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            pass
        else:
            raise SystemExit(77)
        from edge.cuda import open_cuda
        from edge.errors import GpuError
        try:
            open_cuda(library={library!r}).__enter__()
        except GpuError as error:
            print(error)
    """
    done = run(script, {**os.environ, "LD_LIBRARY_PATH": ""})
    if done.returncode == 77:
        pytest.skip("this machine has an NVIDIA driver")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No NVIDIA driver answers: libcuda.so.1 cannot be loaded.")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("_driver.so: undefined symbol: cuEventElapsedTime_v2", "driver is older than the CUDA"),
        ("libboost.so: cannot open shared object file", "pycuda is installed and cannot be"),
    ],
)
def test_a_library_that_is_broken_is_not_called_absent(
    tmp_path: Path, reason: str, told: str
) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text(f"raise ImportError({reason!r})")
    script = """
        from edge.cuda import open_cuda
        from edge.errors import GpuError
        try:
            open_cuda(library="pycuda")
        except GpuError as error:
            print(error)
    """
    done = run(script, {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
