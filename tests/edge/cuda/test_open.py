"""How the GPU is reached, and the messages where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge.cuda import binding_version, open_cuda
from edge.errors import GpuError, MissingDependency
from tests.software_cuda import NO_DEVICE, SoftwareGpu

ROOT = Path(__file__).resolve().parents[3]


def test_without_pycuda_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.delitem(sys.modules, "edge.cuda.pycuda", raising=False)
    for call in (open_cuda, binding_version):
        with pytest.raises(MissingDependency, match=r"pycuda is needed to use the GPU.* Run: pip"):
            call()


def test_the_gpu_and_the_binding_are_described(software_gpu: SoftwareGpu) -> None:
    assert binding_version()[:4].isdigit()
    software_gpu.set(major=7, minor=2, integrated=0, can_map=0, total_bytes=8 << 30, driver=13010)
    with open_cuda() as cuda:
        gpu = cuda.gpu
    assert (gpu.name, gpu.compute_capability) == ("Orin (software)", (7, 2))
    assert (gpu.integrated, gpu.can_map) == (False, False)
    assert (gpu.total_bytes, gpu.driver) == (8 << 30, (13, 1))


def test_another_gpu_can_be_chosen_and_one_that_is_not_there_is_refused(
    software_gpu: SoftwareGpu,
) -> None:
    software_gpu.set(devices=2)
    with open_cuda(1) as cuda:
        cuda.allocate(8).free()
    with pytest.raises(GpuError, match="Expected a GPU with index 2, found 2: choose 0 to 1"):
        open_cuda(2).__enter__()


@pytest.mark.parametrize("settings", [{"devices": 0}, {"init_error": NO_DEVICE}])
def test_no_gpu_is_one_sentence(refusing_gpu: SoftwareGpu, settings: dict[str, int]) -> None:
    refusing_gpu.set(**settings)
    with pytest.raises(GpuError, match="Expected an NVIDIA GPU, and the driver finds none"):
        open_cuda().__enter__()


@pytest.mark.parametrize("driver", [11020, 10020])
def test_an_old_driver_is_refused(software_gpu: SoftwareGpu, driver: int) -> None:
    software_gpu.set(driver=driver)
    with pytest.raises(GpuError, match=r"pycuda needs a driver for CUDA .* found one for 1"):
        open_cuda().__enter__()


def test_another_failure_of_the_start_has_cudas_name(refusing_gpu: SoftwareGpu) -> None:
    refusing_gpu.set(init_error=803)
    with pytest.raises(GpuError, match="cuInit with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"):
        open_cuda().__enter__()


def run(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_driver_is_one_sentence(software_cuda: Path) -> None:
    script = """
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
            open_cuda().__enter__()
        except GpuError as error:
            print(error)
    """
    done = run(script, {**os.environ, "LD_LIBRARY_PATH": ""})
    if done.returncode == 77:
        pytest.skip("this machine has an NVIDIA driver")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No NVIDIA driver found: libcuda.so.1 cannot be loaded.")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("_driver.so: undefined symbol: cuEventElapsedTime_v2", "driver is older than the CUDA"),
        ("libboost.so: cannot open shared object file", "pycuda is installed and cannot be"),
    ],
)
def test_a_library_that_is_broken_is_not_called_absent(
    tmp_path: Path, reason: str, message: str
) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text(f"raise ImportError({reason!r})")
    script = """
        from edge.cuda import open_cuda
        from edge.errors import GpuError
        try:
            open_cuda()
        except GpuError as error:
            print(error)
    """
    done = run(script, {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
