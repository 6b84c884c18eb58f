"""Three releases of TensorRT, as far as they differ for us: of their enums the members that we, our
tests or our models meet, with their numbers.
"""

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


_SAME: dict[str, Members] = {
    "TensorIOMode": _numbered("NONE INPUT OUTPUT"),
    "LayerInformationFormat": _numbered("ONELINE JSON"),
    "MemoryPoolType": _numbered("WORKSPACE"),
    "ProfilingVerbosity": _numbered("LAYER_NAMES_ONLY NONE DETAILED"),
}
_TYPES = "FLOAT HALF INT8 INT32 BOOL UINT8 FP8"
_LAYERS = _numbered(
    "CONVOLUTION _ ACTIVATION POOLING _ SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE _ "
    "UNARY _ SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY _ CONSTANT"
)
_LAYERS_8 = {"IDENTITY": 21, "SLICE": 23, "SHAPE": 24, "RESIZE": 26, "SELECT": 31, "FILL": 32}
_LAYERS_10 = {name: number - 1 for name, number in _LAYERS_8.items()}


def _layers(**others: int) -> Members:
    return {name: n for name, n in {**_LAYERS, **others}.items() if name != "_"}


RELEASES: Mapping[str, Release] = {
    release.version: release
    for release in (
        Release(
            "8.6.1",
            "8.6.1.6",
            236,
            _SAME
            | {
                "NetworkDefinitionCreationFlag": _numbered("EXPLICIT_BATCH EXPLICIT_PRECISION"),
                "BuilderFlag": {
                    **{"FP16": 0, "INT8": 1, "GPU_FALLBACK": 3, "REFIT": 5, "TF32": 7, "FP8": 17},
                    "OBEY_PRECISION_CONSTRAINTS": 10,
                    "PREFER_PRECISION_CONSTRAINTS": 11,
                },
                "DataType": _numbered(_TYPES),
                "LayerType": _layers(QUANTIZE=33, DEQUANTIZE=34, CAST=47, **_LAYERS_8),
            },
        ),
        Release(
            "10.3.0",
            "10.3.0.26",
            239,
            _SAME
            | {
                "NetworkDefinitionCreationFlag": _numbered("EXPLICIT_BATCH STRONGLY_TYPED"),
                "BuilderFlag": {
                    **{"FP16": 0, "INT8": 1, "GPU_FALLBACK": 3, "REFIT": 4, "TF32": 6, "FP8": 15},
                    "OBEY_PRECISION_CONSTRAINTS": 9,
                    "PREFER_PRECISION_CONSTRAINTS": 10,
                    **{"BF16": 17, "INT4": 22},
                },
                "DataType": _numbered(_TYPES + " BF16 INT64 INT4"),
                "LayerType": _layers(QUANTIZE=32, DEQUANTIZE=33, CAST=1, **_LAYERS_10),
            },
        ),
        Release(
            "11.4.0.106",
            "11.4.0.106",
            244,
            _SAME
            | {
                "NetworkDefinitionCreationFlag": _numbered("STRONGLY_TYPED"),
                "BuilderFlag": {"GPU_FALLBACK": 3, "REFIT": 4, "TF32": 6},
                "DataType": _numbered(_TYPES + " BF16 INT64 INT4 FP4 E8M0"),
                "LayerType": _layers(QUANTIZE=32, DEQUANTIZE=33, CAST=1, **_LAYERS_10),
            },
        ),
    )
}
RELEASES = {version.removesuffix(".106"): release for version, release in RELEASES.items()}

SEVERITIES: Members = _numbered("INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
