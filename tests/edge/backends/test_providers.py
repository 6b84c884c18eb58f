from __future__ import annotations

from pathlib import Path

import pytest

from edge.backends.providers import NAMES, Provider, explain_gpu, providers, reason_in
from edge.errors import MissingDependency, UsageError
from edge.manifest import Precision

GPU_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU_BUILD = ["AzureExecutionProvider", "CPUExecutionProvider"]

OPTIONS_1_15 = {
    "TensorrtExecutionProvider": {
        "device_id",
        "trt_max_workspace_size",
        "trt_fp16_enable",
        "trt_int8_enable",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_timing_cache_enable",
    },
    "CUDAExecutionProvider": {"device_id", "cudnn_conv_algo_search", "arena_extend_strategy"},
    "CPUExecutionProvider": set(),
}
"""Those of ours that ONNX Runtime 1.15 has in its own sources; others it refuses."""


def first(found: list[Provider]) -> dict[str, str]:
    return found[0][1]


@pytest.mark.parametrize(
    ("device", "build", "names"),
    [
        ("cpu", GPU_BUILD, GPU_BUILD[2:]),
        ("cuda", GPU_BUILD, GPU_BUILD[1:]),
        ("tensorrt", GPU_BUILD, GPU_BUILD),
        ("tensorrt", GPU_BUILD[::2], GPU_BUILD[::2]),
    ],
)
def test_what_a_provider_does_not_take_goes_to_the_next(
    device: str, build: list[str], names: list[str]
) -> None:
    assert [name for name, _ in providers(device, build)] == names


def test_products_of_cuda_are_exact() -> None:
    found = first(providers("cuda", GPU_BUILD, runtime=(1, 22)))
    assert (found["use_tf32"], found["cudnn_conv_algo_search"]) == ("0", "HEURISTIC")


@pytest.mark.parametrize("device", NAMES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_old_release_is_given_only_what_it_knows(
    device: str, precision: Precision, tmp_path: Path
) -> None:
    found = providers(device, GPU_BUILD, precision, engines=tmp_path, runtime=(1, 15))
    for name, options in found:
        assert options.keys() <= OPTIONS_1_15[name]
        assert all(isinstance(value, str) for value in options.values())


@pytest.mark.parametrize(
    ("precision", "typed", "runtime", "flags"),
    [
        ("fp32", True, (1, 22), set()),
        ("fp16", False, (1, 22), {"trt_fp16_enable"}),
        ("fp16", False, (1, 17), {"trt_fp16_enable"}),
        # A file of half types: TensorRT 8 wants the flag beside them, 10 takes them as they are.
        ("fp16", True, (1, 17), {"trt_fp16_enable"}),
        ("fp16", True, (1, 18), set()),
        ("int8", True, (1, 17), {"trt_int8_enable"}),
    ],
)
def test_flags_for_precision(
    precision: Precision, typed: bool, runtime: tuple[int, int], flags: set[str]
) -> None:
    options = first(providers("tensorrt", GPU_BUILD, precision, typed=typed, runtime=runtime))
    assert options.keys() - {"device_id", "trt_max_workspace_size"} == flags
    assert options["trt_max_workspace_size"] == str(512 << 20)


@pytest.mark.parametrize(
    ("device", "precision"),
    [("cpu", "fp16"), ("cuda", "fp16"), ("cuda", "int8"), ("tensorrt", "int8")],
)
def test_a_float32_file_gives_no_other_precision(device: str, precision: Precision) -> None:
    with pytest.raises(UsageError, match=f"{precision} with --device {device} takes .* from the"):
        providers(device, GPU_BUILD, precision, typed=False)
    assert providers(device, GPU_BUILD, precision, typed=True)


@pytest.mark.parametrize(
    ("device", "jetson", "words"),
    [
        ("cuda", False, "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("tensorrt", False, "TensorRT's own libraries"),
        ("cuda", True, "NVIDIA's page 'Jetson Zoo'"),
    ],
)
def test_a_build_without_the_provider_names_what_brings_it(
    device: str, jetson: bool, words: str
) -> None:
    with pytest.raises(MissingDependency) as caught:
        providers(device, CPU_BUILD, jetson=jetson)
    assert NAMES[device] in str(caught.value) and words in str(caught.value)
    assert ("[cuda,cudnn]" in str(caught.value)) is not jetson


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(&p, n);", "too little free"),
        (
            "Non-zero status code returned while running Conv node. Failed to allocate memory for "
            "requested buffer of size 4585490524328388608",
            "too little free",
        ),
        ("CUDA failure 209: no kernel image is available for execution", "has code for"),
        ("CUDA failure 35: CUDA driver version is insufficient for CUDA", "expected a driver as"),
        ("CUDA failure 100: no CUDA-capable device is detected", "CUDA sees none"),
        ("enqueueV3: Error Code 1: Cuda Runtime (invalid resource handle)", "another"),
        ("Got invalid dimensions for input: frames for the following indices", None),
    ],
)
def test_what_the_gpu_fails_with_is_one_sentence(text: str, part: str | None) -> None:
    sentence = explain_gpu(text)
    assert (sentence is None) is (part is None)
    assert sentence is None or (str(part) in sentence and ". " not in sentence)


LIBRARY = (
    "\x1b[1;31m2024-07-15 09:55:28.305600246 [E:onnxruntime:Default, provider_bridge_ort.cc:1745 "
    "TryGetProviderInfo_CUDA] /onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:"
    "1426 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : "
    "FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: libcudnn.so.9: "
    "cannot open shared object file: No such file or directory\x1b[m"
)
CREATE = (
    "2024-07-15 09:55:28.305630883 [W:onnxruntime:Default, onnxruntime_pybind_state.cc:895 "
    "CreateExecutionProviderInstance] Failed to create CUDAExecutionProvider. Require cuDNN 9.* "
    "and CUDA 12.*."
)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        (f"{LIBRARY}\n\n{CREATE}\n", "Failed to load library libonnxruntime_providers_cuda.so"),
        (f"{CREATE}\n{LIBRARY}", "Failed to load library libonnxruntime_providers_cuda.so"),
        (f"noise\n{CREATE}\n[W:onnxruntime:, a.cc:1 F] later", "Failed to create CUDAExec"),
        ("noise alone\n", ""),
    ],
)
def test_a_missing_library_is_the_reason_else_the_first_message(text: str, begin: str) -> None:
    reason = reason_in(text)
    assert reason.startswith(begin) and bool(reason) is bool(begin) and "\x1b" not in reason
