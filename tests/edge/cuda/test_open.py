"""How the GPU is reached, and the messages where it cannot be."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

import pytest

from edge.cuda import binding_version, open_cuda
from edge.errors import GpuError, MissingDependency
from tests.programs import in_python
from tests.software_cuda import NO_DEVICE, SoftwareGpu


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
    assert (gpu.integrated, gpu.can_map, gpu.reads_pageable) == (False, False, False)
    assert (gpu.total_bytes, gpu.driver) == (8 << 30, (13, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 0}, "Expected an NVIDIA GPU, and the driver finds none"),
        ({"init_error": NO_DEVICE}, "Expected an NVIDIA GPU, and the driver finds none"),
        ({"driver": 11020}, r"pycuda needs a driver for CUDA .* found one for 11\.2"),
        ({"init_error": 803}, "cuInit with CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: .* Restart the mach"),
        ({"init_error": 999}, r"sudo usermod -aG video,render \$USER, and log in again"),
        ({"init_error": 804}, "no cuda-compat"),
        ({"init_error": 46}, "another process holds the GPU"),
    ],
)
def test_what_cannot_start_is_one_sentence(
    refusing_gpu: SoftwareGpu, settings: dict[str, int], message: str
) -> None:
    refusing_gpu.set(**settings)
    with pytest.raises(GpuError, match=message) as caught:
        open_cuda().__enter__()
    assert "\n" not in str(caught.value)


def test_every_error_that_a_machines_owner_can_mend_says_how(refusing_gpu: SoftwareGpu) -> None:
    import edge.cuda.pycuda as module

    codes: dict[str, int] = {}
    for code in range(1, 1000):
        name = ctypes.c_char_p()
        if refusing_gpu.library.cuGetErrorName(code, ctypes.byref(name)) == 0:
            codes[(name.value or b"").decode()] = code
    # The driver in software has no error 36.
    assert module._MENDS.keys() - codes.keys() == {"CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER"}
    for known, mend in module._MENDS.items():
        if known in codes:
            refusing_gpu.reset()
            refusing_gpu.fail("cuStreamCreate", codes[known], times=1)
            with pytest.raises(GpuError, match=re.escape(f"{known}: {mend}.")):
                open_cuda().__enter__()


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
    done = in_python(script, environment={**os.environ, "LD_LIBRARY_PATH": ""})
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
    done = in_python(script, environment={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
