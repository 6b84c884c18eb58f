"""What runs a model file: one module for each runtime, imported only when it is chosen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from edge.backends.base import Backend
from edge.cuda import open_cuda
from edge.errors import GpuError, MissingDependency, ModelError, UsageError
from edge.files import sha256_of
from edge.manifest import Precision
from edge.tensorrt.board import read_board
from edge.tensorrt.cache import default_folder
from edge.tensorrt.record import DEFAULT_PRECISION, machine_of
from edge.tensorrt.store import BuildEngine, EngineStore, OneEngine
from edge.weights import variant

log = logging.getLogger(__name__)

ENGINE_SUFFIX = ".engine"


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """Which runtime, and how.

    Attributes:
        name: the runtime.
        device: what ONNX Runtime runs on.
        precision: None for fp16 with TensorRT and fp32 elsewhere.
        threads: inside an operator on the CPU; None for every core.
        cuda_library: what reaches the GPU for TensorRT; None for whichever is installed.
        zero_copy: whether the GPU reads frames from the CPU's memory; None to measure it.
        build: builds an engine that is not there; None if nothing can.
        progress: told how a build goes.
    """

    name: Literal["onnxruntime", "tensorrt"] = "onnxruntime"
    device: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    precision: Precision | None = None
    threads: int | None = None
    cuda_library: Literal["pycuda", "cuda-python"] | None = None
    zero_copy: bool | None = None
    build: BuildEngine | None = None
    progress: Callable[[str], None] = lambda text: None


def open_backend(
    path: Path, threads: int | None = None, choice: BackendChoice | None = None
) -> Backend:
    """The backend for a model file.

    Args:
        path: a `.onnx` file, or an `.engine` with its record beside it.
        threads: threads inside an operator; None for every core. Goes before the choice's.
        choice: ONNX Runtime on the CPU if None.

    Raises:
        ModelError: the file cannot be used.
        UsageError: what was chosen does not go together.
        MissingDependency: the runtime, or what it needs, is not installed.
        GpuError: a GPU is needed, and none answers.
    """
    choice = choice or BackendChoice()
    if path.suffix == ENGINE_SUFFIX or choice.name == "tensorrt":
        return _open_tensorrt(path, choice)
    return _open_onnxruntime(path, threads or choice.threads, choice)


def _open_onnxruntime(path: Path, threads: int | None, choice: BackendChoice) -> Backend:
    from edge.backends.onnxruntime import OnnxRuntimeBackend

    precision = choice.precision or "fp32"
    if choice.device == "cpu":
        return OnnxRuntimeBackend(of_precision(path, precision), threads, precision=precision)
    own = path if precision == "fp32" else variant(path, precision)
    keeps = choice.device == "tensorrt"
    return OnnxRuntimeBackend(
        own or path,
        threads,
        device=choice.device,
        precision=precision,
        typed=own is not None,
        cache_key=_provider_key(own or path, precision) if keeps else None,
        cache_folder=default_folder() if keeps else None,
    )


def _provider_key(path: Path, precision: Precision) -> str | None:
    """Of all that an engine of ONNX Runtime's provider depends on; None if the GPU is not known."""
    try:
        with open_cuda() as cuda:
            gpu = cuda.gpu
    except (MissingDependency, GpuError) as error:
        log.warning("engines will be built at every start, as this GPU has no name yet: %s", error)
        return None
    runtime = f"{_version('tensorrt')} in onnxruntime {_version('onnxruntime-gpu', 'onnxruntime')}"
    machine = machine_of(runtime, gpu.name, gpu.compute_capability, gpu.driver, read_board())
    parts = (machine.model_dump_json(), precision, sha256_of(path))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _version(*names: str) -> str:
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "of the system"


def of_precision(path: Path, precision: Precision | None) -> Path:
    """The file that holds a model at a precision: itself, or the variant beside it.

    Raises:
        ModelError: there is no such variant.
    """
    if precision in (None, "fp32"):
        return path
    found = variant(path, precision)
    if found is None:
        raise ModelError(
            f"{path}: no {precision} variant beside it. Make one where torch is installed: "
            f"patchwatch export {path.name} -o {path.name} --precision {precision}."
        )
    return found


def _open_tensorrt(path: Path, choice: BackendChoice) -> Backend:
    if choice.device != "cpu":
        raise UsageError(
            "--device chooses what ONNX Runtime runs on; TensorRT engines run on the GPU. Leave it "
            "out, or give --backend onnxruntime."
        )
    try:
        from edge.backends.tensorrt import TensorRTBackend
    except (ImportError, OSError) as error:
        if "tensorrt" not in str(error) and "nvinfer" not in str(error):
            raise
        raise MissingDependency(
            f"TensorRT ({error})",
            "run an engine",
            "sudo apt install python3-libnvinfer on a Jetson, in a virtual environment made with "
            "--system-site-packages; elsewhere pip install tensorrt-cu12",
        ) from error
    if path.suffix == ENGINE_SUFFIX:
        engine = OneEngine(path)
        built = engine.engine.sidecar.key.precision
        if choice.precision not in (None, built):
            raise UsageError(f"--precision {choice.precision}: {path} was built for {built}.")
        return TensorRTBackend(engine, engine.manifest, choice.cuda_library, choice.zero_copy)
    from edge.backends.onnxruntime import OnnxRuntimeBackend

    with OnnxRuntimeBackend(path, threads=1) as reader:
        manifest = reader.manifest
    store = EngineStore(
        path,
        manifest,
        choice.precision or DEFAULT_PRECISION,
        choice.build,
        progress=choice.progress,
    )
    return TensorRTBackend(store, manifest, choice.cuda_library, choice.zero_copy)
