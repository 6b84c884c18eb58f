"""Three releases of TensorRT, as far as they differ for us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Members = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Release:
    """One release."""

    version: str
    library: str
    archive: int
    enums: Mapping[str, Members]

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.partition(".")[0])


def _numbered(names: str, **others: int) -> Members:
    return {name: number for number, name in enumerate(names.split())} | others


_SMALL: Mapping[str, Members] = {
    "TensorIOMode": _numbered("NONE INPUT OUTPUT"),
    "TensorLocation": _numbered("DEVICE HOST"),
    "LayerInformationFormat": _numbered("ONELINE JSON"),
    "DeviceType": _numbered("GPU DLA"),
}
_POOLS = "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM"
_VERBOSITIES = "LAYER_NAMES_ONLY NONE DETAILED"
_TYPES = "FLOAT HALF INT8 INT32 BOOL UINT8 FP8"
_ERRORS = (
    "SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH "
    "INVALID_NODE UNSUPPORTED_GRAPH UNSUPPORTED_NODE"
)
_MORE_ERRORS = (
    " UNSUPPORTED_NODE_ATTR UNSUPPORTED_NODE_INPUT UNSUPPORTED_NODE_DATATYPE "
    "UNSUPPORTED_NODE_DYNAMIC UNSUPPORTED_NODE_SHAPE REFIT_FAILED"
)
_LAYERS_UP_TO_CONSTANT = (
    "ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE PLUGIN UNARY "
    "PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT "
)
_LAYERS_FROM_IDENTITY = (
    "IDENTITY PLUGIN_V2 SLICE SHAPE PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR "
    "LOOP_OUTPUT SELECT FILL QUANTIZE DEQUANTIZE CONDITION CONDITIONAL_INPUT CONDITIONAL_OUTPUT "
    "SCATTER EINSUM ASSERTION ONE_HOT NON_ZERO GRID_SAMPLE NMS REVERSE_SEQUENCE NORMALIZATION "
)

_RELEASE_8_6 = Release(
    "8.6.1",
    "8.6.1.6",
    236,
    {
        **_SMALL,
        "NetworkDefinitionCreationFlag": _numbered("EXPLICIT_BATCH EXPLICIT_PRECISION"),
        "BuilderFlag": _numbered(
            "FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 "
            "SPARSE_WEIGHTS SAFETY_SCOPE OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS "
            "DIRECT_IO REJECT_EMPTY_ALGORITHMS ENABLE_TACTIC_HEURISTIC VERSION_COMPATIBLE "
            "EXCLUDE_LEAN_RUNTIME FP8"
        ),
        "MemoryPoolType": _numbered(_POOLS),
        "ProfilingVerbosity": _numbered(_VERBOSITIES, DEFAULT=0, VERBOSE=2),
        "HardwareCompatibilityLevel": _numbered("NONE AMPERE_PLUS"),
        "DataType": _numbered(_TYPES),
        "ErrorCode": _numbered(_ERRORS),
        "LayerType": _numbered(
            f"CONVOLUTION FULLY_CONNECTED {_LAYERS_UP_TO_CONSTANT} RNN_V2 {_LAYERS_FROM_IDENTITY} "
            "CAST"
        ),
    },
)

_LAYERS_10 = f"CONVOLUTION CAST {_LAYERS_UP_TO_CONSTANT} {_LAYERS_FROM_IDENTITY} PLUGIN_V3"

_RELEASE_10_3 = Release(
    "10.3.0",
    "10.3.0.26",
    239,
    {
        **_SMALL,
        "NetworkDefinitionCreationFlag": _numbered("EXPLICIT_BATCH STRONGLY_TYPED"),
        "BuilderFlag": _numbered(
            "FP16 INT8 DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS "
            "SAFETY_SCOPE OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO "
            "REJECT_EMPTY_ALGORITHMS VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME FP8 "
            "ERROR_ON_TIMING_CACHE_MISS BF16 DISABLE_COMPILATION_CACHE STRIP_PLAN REFIT_IDENTICAL "
            "WEIGHT_STREAMING INT4 REFIT_INDIVIDUAL",
            WEIGHTLESS=19,
        ),
        "MemoryPoolType": _numbered(_POOLS + " TACTIC_SHARED_MEMORY"),
        "ProfilingVerbosity": _numbered(_VERBOSITIES),
        "HardwareCompatibilityLevel": _numbered("NONE AMPERE_PLUS"),
        "DataType": _numbered(_TYPES + " BF16 INT64 INT4"),
        "ErrorCode": _numbered(_ERRORS + _MORE_ERRORS),
        "LayerType": _numbered(_LAYERS_10),
    },
)

_RELEASE_11_4 = Release(
    "11.4.0.106",
    "11.4.0.106",
    244,
    {
        **_SMALL,
        "NetworkDefinitionCreationFlag": _numbered(
            "STRONGLY_TYPED PREFER_JIT_PYTHON_PLUGINS PREFER_AOT_PYTHON_PLUGINS"
        ),
        "BuilderFlag": {
            "DEBUG": 2,
            "GPU_FALLBACK": 3,
            "REFIT": 4,
            "DISABLE_TIMING_CACHE": 5,
            "TF32": 6,
            "SPARSE_WEIGHTS": 7,
            "SAFETY_SCOPE": 8,
            "DIRECT_IO": 11,
            "VERSION_COMPATIBLE": 12,
            "EXCLUDE_LEAN_RUNTIME": 13,
            "ERROR_ON_TIMING_CACHE_MISS": 15,
            "DISABLE_COMPILATION_CACHE": 17,
            "STRIP_PLAN": 18,
            "REFIT_IDENTICAL": 19,
            "WEIGHT_STREAMING": 20,
            "REFIT_INDIVIDUAL": 22,
            "STRICT_NANS": 23,
            "MONITOR_MEMORY": 24,
            "EDITABLE_TIMING_CACHE": 26,
            "DISTRIBUTIVE_INDEPENDENCE": 27,
        },
        "MemoryPoolType": _numbered(_POOLS + " TACTIC_SHARED_MEMORY"),
        "ProfilingVerbosity": _numbered(_VERBOSITIES),
        "HardwareCompatibilityLevel": _numbered("NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY"),
        "DataType": _numbered(_TYPES + " BF16 INT64 INT4 FP4 E8M0"),
        "ErrorCode": _numbered(_ERRORS + _MORE_ERRORS),
        "LayerType": _numbered(_LAYERS_10 + " SQUEEZE UNSQUEEZE CUMULATIVE DYNAMIC_QUANTIZE"),
    },
)

RELEASES: Mapping[str, Release] = {
    "8.6.1": _RELEASE_8_6,
    "10.3.0": _RELEASE_10_3,
    "11.4.0": _RELEASE_11_4,
}

SEVERITIES: Members = _numbered("INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

ALIASES: Mapping[str, str] = {
    "float32": "FLOAT",
    "float16": "HALF",
    "bfloat16": "BF16",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "bool": "BOOL",
}
"""Names in the module → members of DataType, where the release has such a member."""
