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


def test_the_cpu_is_alone() -> None:
    assert providers("cpu", GPU_BUILD) == [("CPUExecutionProvider", {})]
    assert providers("cpu", CPU_BUILD) == [("CPUExecutionProvider", {})]


def test_cuda_comes_before_the_cpu_with_exact_products() -> None:
    found = providers("cuda", GPU_BUILD, runtime=(1, 22))
    assert [name for name, _ in found] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert first(found) == {
        "device_id": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }


def test_tensorrt_leaves_the_rest_to_cuda_where_it_is_there() -> None:
    names = [name for name, _ in providers("tensorrt", GPU_BUILD)]
    assert names == GPU_BUILD
    without = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    assert [name for name, _ in providers("tensorrt", without)] == without


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


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_build_without_the_provider_names_the_command(device: str) -> None:
    with pytest.raises(MissingDependency) as caught:
        providers(device, CPU_BUILD)
    text = str(caught.value)
    assert NAMES[device] in text
    assert "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'" in text
    assert ("TensorRT's own libraries" in text) is (device == "tensorrt")


def test_on_a_jetson_the_wheel_is_nvidias() -> None:
    with pytest.raises(MissingDependency, match="NVIDIA's page 'Jetson Zoo'") as caught:
        providers("cuda", CPU_BUILD, jetson=True)
    assert "[cuda,cudnn]" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc((void**)&p, n);",
            "too little free memory",
        ),
        (
            "Non-zero status code returned while running Conv node. Name:'/Conv' Status Message: "
            "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
            "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, "
            "onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of "
            "size 4585490524328388608",
            "too little free memory",
        ),
        (
            "CUDA failure 209: no kernel image is available for execution on the device",
            "has code for",
        ),
        (
            "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; "
            "GPU=0 ; hostname=c348de8374be ; expr=cudaSetDevice(info_.device_id);",
            "expected a driver as new",
        ),
        ("CUDA failure 100: no CUDA-capable device is detected", "CUDA sees none"),
        (
            "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (invalid resource handle)",
            "another",
        ),
    ],
)
def test_what_the_gpu_fails_with_is_one_sentence(text: str, part: str) -> None:
    sentence = explain_gpu(text)
    assert sentence is not None
    assert part in sentence
    assert ". " not in sentence


def test_other_failures_are_not_the_gpus() -> None:
    assert explain_gpu("Got invalid dimensions for input: frames for the following indices") is None


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


def test_the_missing_library_is_the_reason() -> None:
    wanted = (
        "Failed to load library libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot "
        "open shared object file: No such file or directory"
    )
    assert reason_in(f"{LIBRARY}\n\n{CREATE}\n") == wanted
    assert reason_in(f"{CREATE}\n{LIBRARY}") == wanted


def test_else_the_first_message_is_the_reason() -> None:
    assert reason_in(f"noise\n{CREATE}\n[W:onnxruntime:, a.cc:1 F] later").startswith(
        "Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 12.*."
    )
    assert reason_in("noise alone\n") == ""
