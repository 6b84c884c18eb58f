"""What an imported TensorRT can do, and how a precision is had from it. Nothing here calls it.

| TensorRT | float32 | half | int8 |
| --- | --- | --- | --- |
| 8.6 | as parsed | flag | Q/DQ file and flags |
| 10 | as parsed | flag; strongly typed if that fails | Q/DQ file and flags; then strongly typed |
| 11 | as parsed | typed file | Q/DQ file |

The flag for half precision is set on the typed file too where there is one: its weights were
rounded with care for the sums of their kernels, which a runtime that rounds them does not take.

Decisions follow what the module has and never its version: names vanish and appear between minor
releases, and vendors ship builds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import EngineError
from edge.manifest import Precision
from edge.weights import variant

EXACT_LAYERS = ("/pixels/",)
"""Layers whose names begin so take differences of grey levels, which half precision would blur."""

FLOAT_LAYERS = (*EXACT_LAYERS, "/head/", "/pooling/", "/ReduceMean")
"""Layers that are held to float32 where TensorRT chooses types: the differences of grey levels, and
the few sums at the end."""

_MEBIBYTE = 1 << 20
SMALLEST_WORKSPACE = 64 * _MEBIBYTE
LARGEST_WORKSPACE = 1024 * _MEBIBYTE


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an imported TensorRT has.

    Attributes:
        network_flags: names of network creation flags.
        builder_flags: names of builder flags.
        layer_types: whether the type of a layer can be set.
        progress: whether a build tells how far it is, and can be stopped.
    """

    network_flags: frozenset[str]
    builder_flags: frozenset[str]
    layer_types: bool
    progress: bool

    @property
    def weak_types(self) -> bool:
        """Whether TensorRT may choose the types of layers, by flags."""
        return "FP16" in self.builder_flags and self.layer_types


def read_capabilities(trt: Any) -> Capabilities:
    """Look at the module `tensorrt`."""
    return Capabilities(
        frozenset(_names(trt.NetworkDefinitionCreationFlag)),
        frozenset(_names(trt.BuilderFlag)),
        hasattr(trt.ILayer, "precision") and hasattr(trt.ILayer, "set_output_type"),
        hasattr(trt, "IProgressMonitor") and hasattr(trt.IBuilderConfig, "progress_monitor"),
    )


def _names(enum: Any) -> Iterable[str]:
    return [name for name in dir(enum) if name.isupper()]


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to an engine.

    Attributes:
        route: in a word, for people and the record.
        source: the file that is parsed.
        network_flags: of the network, by name.
        set_flags: of the builder, by name.
        clear_flags: of the builder, by name.
        float_layers: layers whose names begin so are held to float32.
    """

    route: str
    source: Path
    network_flags: tuple[str, ...]
    set_flags: tuple[str, ...] = ()
    clear_flags: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


def plans(
    capabilities: Capabilities,
    model: Path,
    precision: Precision,
    find: Callable[[Path, Precision], Path | None] = variant,
) -> tuple[Plan, ...]:
    """The ways to an engine, the one to be tried first at the front; at least one.

    Args:
        capabilities: of the imported TensorRT.
        model: the model file.
        precision: of the engine.
        find: gives the variant of a model file, or None.

    Raises:
        EngineError: there is no way; says which file is missing.
    """
    ways = {"fp32": _fp32, "fp16": _fp16, "int8": _int8}[precision]
    own = None if precision == "fp32" else find(model, precision)
    found = tuple(ways(capabilities, model, own))
    if not found:
        raise EngineError(
            f"{model}: this TensorRT takes {precision} from a file of its own types, and there is "
            f"no {model.stem}.{precision}.onnx beside it. Make it where torch is installed: "
            f"patchwatch export {model.name} -o {model.name} --precision {precision}; then copy it."
        )
    return found


def workspace(free_bytes: int, wanted: int | None = None) -> int:
    """Bytes that a build may use: what is wanted, else a quarter of what is free, within limits."""
    if wanted is not None:
        return wanted
    return max(SMALLEST_WORKSPACE, min(LARGEST_WORKSPACE, free_bytes // 4))


def _fp32(has: Capabilities, model: Path, own: Path | None) -> Iterable[Plan]:
    # TF32 rounds the products of convolutions to 10 bits, and is on by default.
    yield Plan("float32", model, _flags(has, typed=False), clear_flags=_kept(has, "TF32"))


def _fp16(has: Capabilities, model: Path, own: Path | None) -> Iterable[Plan]:
    if has.weak_types:
        yield _half_by_flag(has, own or model)
    if own is not None and _strong(has):
        yield Plan("half by type", own, _flags(has, typed=True), clear_flags=_kept(has, "TF32"))
    if own is not None and has.weak_types:
        yield _half_by_flag(has, model)


def _half_by_flag(has: Capabilities, source: Path) -> Plan:
    return Plan(
        "half by flag",
        source,
        _flags(has, typed=False),
        set_flags=("FP16", *_kept(has, "OBEY_PRECISION_CONSTRAINTS")),
        clear_flags=_kept(has, "TF32"),
        float_layers=FLOAT_LAYERS,
    )


def _int8(has: Capabilities, model: Path, own: Path | None) -> Iterable[Plan]:
    if own is None:
        return
    if has.weak_types and "INT8" in has.builder_flags:
        yield Plan(
            "int8 by scales and flags",
            own,
            _flags(has, typed=False),
            set_flags=("INT8", "FP16", *_kept(has, "OBEY_PRECISION_CONSTRAINTS")),
            clear_flags=_kept(has, "TF32"),
            float_layers=FLOAT_LAYERS,
        )
    if _strong(has):
        yield Plan("int8 by scales", own, _flags(has, typed=True), clear_flags=_kept(has, "TF32"))


def _strong(has: Capabilities) -> bool:
    """Whether types can be taken from the file: by a flag, or because there is no other way."""
    return "STRONGLY_TYPED" in has.network_flags or not has.weak_types


def _flags(has: Capabilities, typed: bool) -> tuple[str, ...]:
    """Of the network; what this TensorRT has no name for, it does by itself."""
    wanted = ("EXPLICIT_BATCH", *(("STRONGLY_TYPED",) if typed else ()))
    return tuple(name for name in wanted if name in has.network_flags)


def _kept(has: Capabilities, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in has.builder_flags)
