"""The providers and options that ONNX Runtime runs a model file with, and what they write.

Nothing here imports ONNX Runtime. A provider refuses options that it does not know, so those that
came after ONNX Runtime 1.15 are given only to the versions that have them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edge.errors import MissingDependency, UsageError
from edge.manifest import Precision
from edge.tensorrt.log_lines import Problem, explain

Provider = tuple[str, dict[str, str]]
"""A provider's name and its options; all values are texts."""

Version = tuple[int, int]

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Device → the provider that runs on it."""

WORKSPACE_BYTES = 512 << 20
"""That a TensorRT layer may use beyond its tensors; on a Jetson they are the system's too."""

_NEWEST: Version = (99, 0)
_HAS_USE_TF32: Version = (1, 18)
_HAS_STRONG_TYPES: Version = (1, 18)


def providers(
    device: str,
    available: Sequence[str],
    precision: Precision = "fp32",
    *,
    typed: bool = True,
    engines: Path | None = None,
    runtime: Version = _NEWEST,
    jetson: bool = False,
) -> list[Provider]:
    """The list that an inference session takes, the requested provider first.

    Args:
        device: what runs the model.
        available: names of the providers that this ONNX Runtime was built with.
        precision: that the network computes in.
        typed: whether the file holds the types of that precision; else TensorRT chooses them.
        engines: folder for engines of this model on this machine alone, as ONNX Runtime would load
            one of another model, version or GPU; None to keep none.
        runtime: version of ONNX Runtime, major and minor.
        jetson: whether this is one, for what to install.

    Raises:
        MissingDependency: this ONNX Runtime was built without the provider.
        UsageError: the precision cannot be had from that file on that device.
    """
    if NAMES[device] not in available:
        raise _missing(device, jetson)
    if not typed and precision != "fp32" and (device, precision) != ("tensorrt", "fp16"):
        what = "8-bit scales" if precision == "int8" else "half precision"
        raise UsageError(
            f"{precision} with --device {device} takes {what} from the file, found a float32 file. "
            f"Make one where torch is installed: patchwatch export --precision {precision}."
        )
    found: list[Provider] = []
    if device == "tensorrt":
        found.append((NAMES["tensorrt"], _tensorrt_options(precision, typed, engines, runtime)))
    if device != "cpu" and NAMES["cuda"] in available:
        # TensorRT's provider leaves to this one what it does not take.
        found.append((NAMES["cuda"], _cuda_options(runtime)))
    return [*found, (NAMES["cpu"], {})]


def _tensorrt_options(
    precision: Precision, typed: bool, engines: Path | None, runtime: Version
) -> dict[str, str]:
    options = {"device_id": "0", "trt_max_workspace_size": str(WORKSPACE_BYTES)}
    # Without these flags ONNX Runtime makes the network strongly typed where TensorRT is 10 or
    # newer, and a file with types of its own needs none. TensorRT 8 needs the flag beside them.
    if precision == "fp16" and (not typed or runtime < _HAS_STRONG_TYPES):
        options["trt_fp16_enable"] = "True"
    if precision == "int8":
        options["trt_int8_enable"] = "True"
    if engines is not None:
        options["trt_engine_cache_enable"] = "True"
        options["trt_engine_cache_path"] = str(engines)
        # Lies in the same folder: an option of its own for its place came later.
        options["trt_timing_cache_enable"] = "True"
    return options


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


def _missing(device: str, jetson: bool) -> MissingDependency:
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
                "; TensorRT's own libraries are separate, in the version that ONNX Runtime's page "
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
    """One sentence for ONNX Runtime's message of a failing GPU; None for anything else.

    Args:
        text: an exception's, or what went to stderr.
    """
    for pattern, sentence in _GPU_PROBLEMS:
        if re.search(pattern, text, re.IGNORECASE):
            return sentence
    problem = explain([], "run", text)
    return None if problem.kind is Problem.UNKNOWN else problem.sentence


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LOG_LINE = re.compile(r"^.*?\[(?P<severity>[WEF]):onnxruntime:[^\]]*\] ?(?P<message>.+)$")
_LIBRARY = re.compile(r"Failed to load library \S+ with error: .*|Error loading .*", re.IGNORECASE)


def reason_in(text: str) -> str:
    """The message of ONNX Runtime that says best why a provider did not come up.

    It writes several: about a missing library, and about the provider that is then absent. The
    first that names a library is taken, else the first warning or error; empty if there is none.
    """
    lines = [_COLOUR.sub("", line) for line in text.splitlines()]
    messages = [match["message"].strip() for line in lines if (match := _LOG_LINE.match(line))]
    for message in messages:
        library = _LIBRARY.search(message)
        if library:
            return library[0][:300]
    return messages[0][:300] if messages else ""
