"""Fixtures around the CUDA driver in software; a conftest imports them.

The libraries above it are the real ones, and so is what they compile kernels with, where it is
there: nvcc for pycuda (else a stand-in, as the driver does not look at images), NVRTC for
cuda-python.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.cuda import LIBRARIES, Library
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
    if reason is not None:
        pytest.skip(reason)
    # Several conftests import this fixture, and each import is a fixture of its own to pytest.
    if not _BUILT:
        _BUILT.append(build(tmp_path_factory.mktemp("software_cuda")))
    return _BUILT[0]


@pytest.fixture
def software_gpu(software_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftwareGpu]:
    """The driver in this process, fresh; afterwards nothing may be left or have gone wrong.

    A test that lets calls fail ends with `assert_clean(allow_refused=True)` and `reset()`.
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


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    """Each library that fills the seam; skips one that is not installed."""
    name: Library = request.param
    need_library(name)
    return name


def need_library(name: Library) -> None:
    """Skip the test where a library is not installed."""
    module = {"pycuda": "pycuda", "cuda-python": "cuda.bindings"}[name]
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # not even the package that it lies in
        found = None
    if found is None:
        pytest.skip(f"needs {name}: 'make test' installs it where it can")


@pytest.fixture
def compiler(library: Library, software_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library compiles kernels with; skips for cuda-python where there is no NVRTC."""
    if library == "cuda-python":
        from cuda.bindings import nvrtc

        try:
            nvrtc.nvrtcVersion()
        except RuntimeError as error:
            pytest.skip(f"needs NVRTC ({error})")
    elif shutil.which("nvcc") is None and not Path("/usr/local/cuda/bin/nvcc").is_file():
        stand_in = software_cuda.parent / "bin" / "nvcc"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(_NVCC_STAND_IN)
        stand_in.chmod(0o755)
        monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
