"""What TensorRT's own words are read as; they are from public logs of 5.0 to 11.2."""

from __future__ import annotations

import threading

import pytest

from edge.tensorrt.log_lines import Doing, Line, LogLines, Problem, explain

LINES: list[tuple[Doing, Problem, str, str]] = [
    (
        "load",
        Problem.OTHER_VERSION,
        "of 8.6.1.6 and 8.6.0.12 one is this TensorRT",
        "6: The engine plan file is not compatible with this version of TensorRT, expecting "
        "library version 8.6.1.6 got 8.6.0.12, please rebuild.",
    ),
    (
        "load",
        Problem.OTHER_VERSION,
        "of 10.12.0.36 and 10.13.3.9 one is this TensorRT",
        "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is "
        "not compatible with this version of TensorRT, expecting library version 10.12.0.36 got "
        "10.13.3.9, please rebuild.)",
    ),
    (
        "load",
        Problem.OTHER_VERSION,
        "of 5.0.4.3 and 5.0.2.6 one is this TensorRT",
        "The engine plan file is incompatible with this version of TensorRT, expecting "
        "5.0.4.3got 5.0.2.6, please rebuild.",
    ),
    (
        "load",
        Problem.OTHER_VERSION,
        "format 213, here 232",
        "1: [stdArchiveReader.cpp::StdArchiveReader::42] Error Code 1: Serialization "
        "(Serialization assertion stdVersionRead == serializationVersion failed.Version tag does "
        "not match. Note: Current Version: 232, Serialized Engine Version: 213)",
    ),
    (
        "load",
        Problem.OTHER_VERSION,
        "format 239, here 240",
        "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
        "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: "
        "Current Version: 240, Serialized Engine Version: 239)",
    ),
    (
        "load",
        Problem.OTHER_VERSION,
        "build it again on this device",
        "Serialization (Serialization assertion safeVersionRead == safeSerializationVersion "
        "failed.Version tag does not match.",
    ),
    (
        "load",
        Problem.OTHER_GPU,
        "of compute capabilities 8.9 and 7.5 one is this GPU's",
        "6: The engine plan file is generated on an incompatible device, expecting compute 8.9 "
        "got compute 7.5, please rebuild.",
    ),
    (
        "load",
        Problem.OTHER_GPU,
        "of compute capabilities 8.6 and 8.9 one is this GPU's",
        "IRuntime::deserializeCudaEngine: Error Code 6: The engine plan file is generated on an "
        "incompatible device, expecting compute 8.6 got compute 8.9, please rebuild.",
    ),
    (
        "load",
        Problem.OTHER_GPU,
        "built on another",
        "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
        "header.pad == expectedPlatformTag failed. Platform specific tag mismatch detected. "
        "TensorRT plan files are only supported on the target runtime platform they were created "
        "on.",
    ),
    (
        "load",
        Problem.NOT_A_PLAN,
        "another kind of file",
        "1: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization "
        "(Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match)",
    ),
    (
        "load",
        Problem.NOT_A_PLAN,
        "another kind of file",
        "1: [stdArchiveReader.cpp::StdArchiveReader::30] Error Code 1: Serialization "
        "(Serialization assertion magicTagRead == magicTag failed.Magic tag does not match)",
    ),
    (
        "load",
        Problem.NOT_A_PLAN,
        "another kind of file",
        "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
        "header.magicTag == kEXPECTED_MAGIC_TAG failed.Trying to load an engine created with "
        "incompatible serialization version (1297697870 != 1953657958). Check that the engine "
        "was not created using safety runtime",
    ),
    (
        "load",
        Problem.DAMAGED,
        "cut short or damaged",
        "1: [stdArchiveReader.cpp::StdArchiveReader::57] Error Code 1: Serialization "
        "(Serialization assertion sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.Size "
        "specified in header does not match archive size)",
    ),
    (
        "load",
        Problem.DAMAGED,
        "cut short or damaged",
        "2: [engine.cpp::deserializeEngine::1312] Error Code 2: Internal Error (Assertion "
        "engine->deserialize(start, size, allocator, runtime) failed. )",
    ),
    (
        "load",
        Problem.DAMAGED,
        "cut short or damaged",
        "INVALID_ARGUMENT: Cannot deserialize with an empty memory buffer.",
    ),
    (
        "build",
        Problem.OUT_OF_MEMORY,
        "smaller workspace",
        "[virtualMemoryBuffer.cpp::nvinfer1::StdVirtualMemoryBufferImpl::resizePhysical::154] "
        "Error Code 2: OutOfMemory (Requested size was 2833252352 bytes.)",
    ),
    (
        "run",
        Problem.OUT_OF_MEMORY,
        "memory to run the engine",
        "2: [virtualMemoryBuffer.cpp::nvinfer1::StdVirtualMemoryBufferImpl::resizePhysical::140] "
        "Error Code 2: OutOfMemory (no further information)",
    ),
    (
        "load",
        Problem.OUT_OF_MEMORY,
        "memory to load the engine",
        "[resizingAllocator.cpp::allocate::78] Error Code 1: Cuda Runtime (out of memory)",
    ),
    (
        "load",
        Problem.OUT_OF_MEMORY,
        "too little free memory",
        "createInferRuntime: Error Code 6: API Usage Error (CUDA initialization failure with "
        "error: 2. Please check your CUDA installation)",
    ),
    (
        "build",
        Problem.NO_GPU,
        "older than the CUDA that TensorRT was made for",
        "createInferBuilder: Error Code 6: API Usage Error (CUDA initialization failure with "
        "error: 35)",
    ),
    (
        "build",
        Problem.NO_GPU,
        "another process holds the GPU",
        "CUDA initialization failure with error: 46",
    ),
    (
        "build",
        Problem.NO_GPU,
        "found that it gives error 222",
        "CUDA initialization failure with error: 222",
    ),
    (
        "build",
        Problem.NO_GPU,
        "found none",
        "Unable to determine GPU memory usage: no CUDA-capable device is detected",
    ),
    (
        "build",
        Problem.NO_GPU,
        "found none",
        "Unable to determine GPU memory usage: CUDA driver is a stub library",
    ),
    (
        "build",
        Problem.UNSUPPORTED_GPU,
        "found sm_61",
        "IBuilder::buildSerializedNetwork: Error Code 9: API Usage Error (Target GPU SM 61 is not "
        "supported by this TensorRT release.",
    ),
    (
        "run",
        Problem.UNSUPPORTED_GPU,
        "found another",
        "CUDA failure 209: no kernel image is available for execution on the device",
    ),
    (
        "run",
        Problem.WRONG_CONTEXT,
        "the CUDA context and thread that the engine was loaded in",
        "1: [checkMacros.cpp::catchCudaError::271] Error Code 1: Cuda Runtime (invalid resource "
        "handle)",
    ),
    (
        "build",
        Problem.PRECISION,
        "holds fp16 tensors",
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (fp16 precision has been "
        "set for at least one layer or layer output, but fp16 is not configured in the builder.)",
    ),
    (
        "build",
        Problem.PRECISION,
        "strongly typed",
        "IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Parameter check failed, "
        "condition: !config.getFlag(BuilderFlag::kFP16). In createNetworkBuildConfig at "
        "/_src/optimizer/api/builder.cpp:893)",
    ),
    (
        "build",
        Problem.UNSUPPORTED_OPERATOR,
        "the operator DummyOp",
        "IPluginRegistry::getCreator: Error Code 4: API Usage Error (Cannot find plugin: DummyOp, "
        "version: 1, namespace:.)",
    ),
    (
        "build",
        Problem.UNSUPPORTED_OPERATOR,
        "the operator Fake_1",
        "In node 0 with name: nested_node_fake_1 and operator: Fake_1 "
        '(checkFallbackPluginImporter): INVALID_NODE: creator && "Plugin not found, are the '
        'plugin name, version, and namespace correct?"',
    ),
    (
        "build",
        Problem.UNSUPPORTED_OPERATOR,
        "found one that it does not take",
        "In node 0 (importFallbackPluginImporter): UNSUPPORTED_NODE: Assertion failed: creator && "
        '"Plugin not found, are the plugin name, version, and namespace correct?"',
    ),
    (
        "build",
        Problem.UNSUPPORTED_OPERATOR,
        "the operator Range",
        'ModelImporter.cpp:773: While parsing node number 263 [Range -> "onnx::Add_674"]:',
    ),
    (
        "build",
        Problem.UNSUPPORTED_OPERATOR,
        "found one that it does not take",
        "ModelImporter.cpp:151: ERROR: onnxOpImporters.cpp:1803 In function "
        "QuantDequantLinearHelper: [6] Assertion failed: shiftIsAllZeros(zeroPoint): Non-zero zero "
        "point is not supported.",
    ),
    (
        "build",
        Problem.UNSUPPORTED_OPERATOR,
        "the operator Dequantize",
        "IDequantizeLayer::setPrecision: Error Code 3: API Usage Error (Parameter check failed, "
        "condition: isQuantized(dataType). A DequantizeLayer can only run in DataType::kINT8, "
        "DataType::kFP8, DataType::kFP4 or DataType::kINT4precision)",
    ),
    (
        "run",
        Problem.SHAPE,
        "build an engine for this shape",
        "IExecutionContext::setInputShape: Error Code 3: API Usage Error (Parameter check failed, "
        "condition: satisfyProfile. Set dimension [1,1620] for tensor input_values does not "
        "satisfy any optimization profiles. Valid range for profile 0: [1,3240]..[1,12960]. In "
        "setInputShape at runtime/api/executionContext.cpp:2372)",
    ),
    (
        "build",
        Problem.SHAPE,
        "build an engine for this shape",
        "4: [network.cpp::nvinfer1::Network::validate::2965] Error Code 4: Internal Error (Network "
        "has dynamic or shape inputs, but no optimization profile has been defined.)",
    ),
    (
        "build",
        Problem.SHAPE,
        "build an engine for this shape",
        "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dimension mismatch for "
        "tensor x and profile 0. At dimension axis 0, profile has min=1, opt=1, max=4 but tensor "
        "has 1.)",
    ),
]


@pytest.mark.parametrize(("doing", "kind", "part", "line"), LINES)
def test_a_line_is_read_and_carried(doing: Doing, kind: Problem, part: str, line: str) -> None:
    found = explain([Line("ERROR", line)], doing)
    assert found.kind is kind
    assert part in found.sentence
    assert str(found).startswith(f"{found.sentence}. TensorRT: {line[:200]}")


def test_every_kind_but_the_unknown_was_seen() -> None:
    assert {kind for _, kind, _, _ in LINES} == set(Problem) - {Problem.UNKNOWN}


def test_of_several_errors_the_first_counts() -> None:
    # What 8.6 writes of a plan of another version: the second line follows from the first.
    lines = LogLines()
    lines.add("ERROR", "6: The engine plan file is not compatible with this version of TensorRT")
    lines.add("ERROR", "2: [engine.cpp::deserializeEngine::1148] Error Code 2: Internal Error")
    assert explain(lines, "load").kind is Problem.OTHER_VERSION


def test_what_precedes_the_cause_is_passed_over() -> None:
    lines = [
        "1: [convolutionRunner.cpp::execute::211] Error Code 1: Cask (Cask convolution execution)",
        "1: [checkMacros.cpp::catchCudaError::271] Error Code 1: Cuda Runtime (invalid resource "
        "handle)",
    ]
    assert explain(lines, "run").kind is Problem.WRONG_CONTEXT


TACTIC = Line(
    "WARNING",
    "Tactic Device request: 414MB Available: 216MB. Device memory is insufficient to use tactic.",
)
NO_KERNEL = Line(
    "ERROR",
    "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any "
    "implementation for node node_max_pool2d.)",
)


def test_warnings_of_memory_count_only_where_no_kernel_was_found() -> None:
    other = Line("ERROR", "2: [builder.cpp::636] Error Code 2: Internal Error (Assertion failed.)")
    assert explain([TACTIC, NO_KERNEL], "build").kind is Problem.OUT_OF_MEMORY
    assert explain([NO_KERNEL], "build").kind is Problem.UNKNOWN
    found = explain([TACTIC, other], "build")
    assert found.kind is Problem.UNKNOWN
    assert found.line == other.text


def test_a_warning_is_all_that_8_x_gives_of_a_missing_driver() -> None:
    warning = Line(
        "WARNING",
        "CUDA initialization failure with error: 35. Please check your CUDA installation:  "
        "http://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html",
    )
    assert explain([warning], "build").kind is Problem.NO_GPU


def test_without_lines_python_is_quoted() -> None:
    nothing = explain([], "load", "TensorRT returned nothing")
    assert nothing.kind is Problem.UNKNOWN
    assert str(nothing) == "TensorRT could not load the engine. TensorRT: TensorRT returned nothing"
    nullptr = explain([], "build", "pybind11::init(): factory function returned nullptr")
    assert nullptr.kind is Problem.NO_GPU
    assert str(explain([], "run")) == "TensorRT could not run the engine."


def test_the_newest_lines_are_kept_on_one_line_each() -> None:
    lines = LogLines()
    for number in range(1000):
        lines.add("INFO", f"line\n  {number}")
    lines.add("ERROR", "x" * 10_000)
    assert lines.tail(3)[:2] == ("line 998", "line 999")
    assert len(lines.tail(1)[0]) == 2_000
    assert len(lines.tail(10_000)) == 256
    assert lines.tail(0) == ()
    assert len(explain(lines, "build").line) == 300
    lines.clear()
    assert lines.tail() == ()


def test_lines_may_come_from_several_threads() -> None:
    lines = LogLines()

    def write() -> None:
        for number in range(200):
            lines.add("INFO", str(number))
            assert list(lines)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines.tail(10_000)) == 256
