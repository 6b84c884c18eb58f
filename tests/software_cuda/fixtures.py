"""Fixtures around the CUDA driver in software; a conftest imports them.

pycuda above it is the real one, and so is nvcc, which compiles its kernels, where it is installed;
else a stand-in, as the driver does not look at images.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.software_cuda import SoftwareGpu, build, loaded_elsewhere, missing_tool

_BUILT: list[Path] = []

_NVCC_STAND_IN = """#!/bin/sh
[ "$1" = --version ] && { echo stand-in; exit; }
for source; do :; done
cp "$source" "${source%.cu}.cubin"
"""


@pytest.fixture(scope="session")
def software_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libcuda.so.1, built once; skips where there is no compiler."""
    reason = missing_tool()
    if os.environ.get("PATCHWATCH_REAL_GPU") == "1":
        reason = "a real GPU is used instead"
    if reason is None and importlib.util.find_spec("pycuda") is None:
        reason = "needs pycuda: 'make test' installs it where nvcc is"
    if reason is not None:
        pytest.skip(reason)
    # Several conftests import this fixture, and each import is a fixture of its own to pytest.
    if not _BUILT:
        _BUILT.append(build(tmp_path_factory.mktemp("software_cuda")))
    return _BUILT[0]


@pytest.fixture
def software_gpu(software_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftwareGpu]:
    """The driver in this process, fresh; afterwards nothing may be left or have gone wrong.

    A test that lets calls fail takes `refusing_gpu`.
    """
    reason = loaded_elsewhere(software_cuda)
    if reason is not None:
        pytest.skip(reason)
    # Compiled kernels are kept from one test to the next, and not beyond.
    monkeypatch.setenv("XDG_CACHE_HOME", str(software_cuda.parent / "cache"))
    gpu = SoftwareGpu(software_cuda)
    gpu.reset()
    try:
        yield gpu
        gpu.assert_clean()
    finally:
        gpu.reset()


@pytest.fixture
def refusing_gpu(software_gpu: SoftwareGpu) -> Iterator[SoftwareGpu]:
    """The same where calls may fail; all the same nothing may be left."""
    yield software_gpu
    software_gpu.assert_clean(allow_refused=True)
    software_gpu.reset()


@pytest.fixture
def compiler(software_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pycuda compiles kernels with."""
    if shutil.which("nvcc") is None and not Path("/usr/local/cuda/bin/nvcc").is_file():
        stand_in = software_cuda.parent / "bin" / "nvcc"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(_NVCC_STAND_IN)
        stand_in.chmod(0o755)
        monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
