"""What ONNX Runtime is told to run a model file with: its providers and their options.

Nothing here imports ONNX Runtime. A provider refuses options that it does not know, so that those
which came after ONNX Runtime 1.15 are given to the versions alone that have them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edge.errors import MissingDependency, UsageError
from edge.manifest import Precision
from edge.tensorrt.log_lines import Problem, explain
from edge.tensorrt.record import Shape

Device = Literal["cpu", "cuda", "tensorrt"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda", "tensorrt")

Provider = tuple[str, dict[str, str]]
"""A provider's name and its options; all values are texts."""

Version = tuple[int, int]

NAMES: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}

DEFAULT_WORKSPACE = 512 << 20
"""Bytes that a TensorRT layer may use beyond its tensors; on a Jetson they are the system's too."""

_NEWEST: Version = (99, 0)
_HAS_USE_TF32: Version = (1, 18)
_HAS_STRONG_TYPES: Version = (1, 18)


def providers(
    device: Device,
    available: Sequence[str],
    precision: Precision = "fp32",
    cache_folder: Path | None = None,
    record_key: str | None = None,
    *,
    typed: bool = True,
    shapes: Shape | None = None,
    workspace_bytes: int = DEFAULT_WORKSPACE,
    runtime: Version = _NEWEST,
    tensorrt: Version | None = None,
    jetson: bool = False,
) -> list[Provider]:
    """The list that an inference session takes, the one that is asked for at its front.

    Args:
        device: what shall run the model.
        available: names of the providers that this ONNX Runtime was built with.
        precision: in which the network shall compute.
        cache_folder: where engines are kept that TensorRT builds; None to keep none.
        record_key: of all that such an engine depends on. Each key has a folder of its own, as
            ONNX Runtime would load an engine of another model, version or GPU; none is kept
            without one.
        typed: whether the file itself holds the types of that precision; else it is a float32
            file, and TensorRT is asked to choose.
        shapes: the frames that will come, so that TensorRT builds one engine for all of them; None
            where nobody knows, and it builds another whenever a size has not been there yet.
        workspace_bytes: that a TensorRT layer may use beyond its tensors.
        runtime: version of ONNX Runtime, major and minor.
        tensorrt: version of TensorRT; None if nobody knows.
        jetson: whether this is one, for what to install.

    Raises:
        MissingDependency: this ONNX Runtime was built without the provider.
        UsageError: the precision cannot be had from that file on that device.
    """
    if NAMES[device] not in available:
        raise _missing(device, jetson)
    _refuse_precision(device, precision, typed, tensorrt)
    found: list[Provider] = []
    if device == "tensorrt":
        options = _tensorrt_options(precision, typed, workspace_bytes, runtime, tensorrt)
        options |= _cache_options(cache_folder, record_key) | _shape_options(shapes)
        found.append((NAMES["tensorrt"], options))
    if device != "cpu" and NAMES["cuda"] in available:
        # TensorRT's provider leaves to this one what it does not take.
        found.append((NAMES["cuda"], _cuda_options(runtime)))
    return [*found, (NAMES["cpu"], {})]


def cache_folder_of(cache_folder: Path | None, record_key: str | None) -> Path | None:
    """Where the engines of a key are kept; None if they are not."""
    if cache_folder is None or record_key is None:
        return None
    return cache_folder / f"onnxruntime-{record_key}"


def _tensorrt_options(
    precision: Precision,
    typed: bool,
    workspace_bytes: int,
    runtime: Version,
    tensorrt: Version | None,
) -> dict[str, str]:
    options = {"device_id": "0", "trt_max_workspace_size": str(workspace_bytes)}
    flags = tensorrt is None or tensorrt < (11, 0)
    # Without these flags ONNX Runtime makes the network strongly typed where TensorRT is 10 or
    # newer, and a file with types of its own needs none. TensorRT 8 needs the flag beside them.
    if precision == "fp16" and flags and (not typed or runtime < _HAS_STRONG_TYPES):
        options["trt_fp16_enable"] = "True"
    if precision == "int8" and flags:
        options["trt_int8_enable"] = "True"
    return options


def _cache_options(cache_folder: Path | None, record_key: str | None) -> dict[str, str]:
    folder = cache_folder_of(cache_folder, record_key)
    if folder is None:
        return {}
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        # Lies in the same folder: an option of its own for its place came later.
        "trt_timing_cache_enable": "True",
    }


def _shape_options(shapes: Shape | None) -> dict[str, str]:
    if shapes is None:
        return {}
    one, all_of_them = (
        f"frames:{batch}x{shapes.height}x{shapes.width}x3" for batch in (1, shapes.batch)
    )
    return {
        "trt_profile_min_shapes": one,
        "trt_profile_opt_shapes": all_of_them,
        "trt_profile_max_shapes": all_of_them,
    }


def _cuda_options(runtime: Version) -> dict[str, str]:
    options = {
        "device_id": "0",
        # The default tries every kernel whenever a new shape comes, which takes up to seconds;
        # the other alternative was reported to fall back to slow kernels since 1.12.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The default doubles the arena each time, and a Jetson's memory is the system's too.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if runtime >= _HAS_USE_TF32:
        # On by default, it rounds the products of float32 convolutions to 10 bits.
        options["use_tf32"] = "0"
    return options


def _refuse_precision(
    device: Device, precision: Precision, typed: bool, tensorrt: Version | None
) -> None:
    if typed or precision == "fp32":
        return
    chooses = device == "tensorrt" and (tensorrt is None or tensorrt < (11, 0))
    if precision == "fp16" and chooses:
        return
    what = "8-bit scales" if precision == "int8" else "half precision"
    raise UsageError(
        f"{precision} with --device {device} takes {what} from the file, found a float32 file. "
        f"Make one where torch is installed: patchwatch export --precision {precision}."
    )


def _missing(device: Device, jetson: bool) -> MissingDependency:
    if device == "cpu":
        command = "pip install --force-reinstall onnxruntime"
    elif jetson:
        command = (
            "pip uninstall -y onnxruntime, and then pip install the wheel of onnxruntime-gpu that "
            "NVIDIA's page 'Jetson Zoo' names for this JetPack (pip finds none by that name that "
            "runs on a Jetson)"
        )
    else:
        command = "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'"
        if device == "tensorrt":
            command += (
                "; TensorRT's own libraries come apart, of the version that ONNX Runtime's page "
                "on this provider names"
            )
    return MissingDependency(
        f"An ONNX Runtime built with {NAMES[device]}",
        f"run a model with --device {device}",
        command,
    )


_GPU_PROBLEMS: tuple[tuple[str, str], ...] = (
    (
        r"CUDA failure 2\b|out of memory|Failed to allocate memory for requested buffer"
        r"|(?:CUDNN|CUBLAS)_STATUS_ALLOC_FAILED",
        "the GPU has too little free memory; close other programs, or let the model see a smaller "
        "region",
    ),
    (
        r"CUDA failure 209\b|no kernel image is available",
        "expected a GPU that this ONNX Runtime has code for, found another; install a build for "
        "this GPU",
    ),
    (
        r"CUDA failure 35\b|driver version is insufficient",
        "expected a driver as new as the CUDA that this ONNX Runtime was made for, found an older "
        "one or none; update it, or install an older onnxruntime-gpu",
    ),
    (
        r"CUDA failure 100\b|no CUDA-capable device",
        "expected a GPU, found that CUDA sees none; see 'patchwatch doctor'",
    ),
)


def explain_gpu(text: str) -> str | None:
    """One sentence for what ONNX Runtime says where the GPU fails; None for anything else.

    Args:
        text: an exception's, or what went to stderr.
    """
    for pattern, sentence in _GPU_PROBLEMS:
        if re.search(pattern, text, re.IGNORECASE):
            return sentence
    problem = explain([text], "run")
    return None if problem.kind is Problem.UNKNOWN else problem.sentence


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LOG_LINE = re.compile(r"^.*?\[(?P<severity>[WEF]):onnxruntime:[^\]]*\] ?(?P<message>.+)$")
_LIBRARY = re.compile(r"Failed to load library \S+ with error: .*|Error loading .*", re.IGNORECASE)


def reason_in(text: str) -> str:
    """The message in what ONNX Runtime wrote that says best why a provider did not come up.

    It writes several: of a library that is missing, and of the provider that then is not there. The
    first that names a library is taken, else the first warning or error; empty if there is none.
    """
    lines = [_COLOUR.sub("", line) for line in text.splitlines()]
    messages = [match["message"].strip() for line in lines if (match := _LOG_LINE.match(line))]
    for message in messages:
        library = _LIBRARY.search(message)
        if library:
            return library[0][:300]
    return messages[0][:300] if messages else ""
