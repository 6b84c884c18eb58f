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
    """What an imported TensorRT has: flags by name, whether the type of a layer can be set, and
    whether a build says how far it is.
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
    """One way to an engine: a name for it, the file that is parsed, flags of the network and the
    builder by name, and how names of layers begin that are held to float32.
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
    own = None if precision == "fp32" else find(model, precision)
    found = tuple(_ways(capabilities, model, precision, own))
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


def _ways(has: Capabilities, model: Path, precision: Precision, own: Path | None) -> Iterable[Plan]:
    # TF32 rounds the products of convolutions to 10 bits, and is on by default.
    exact = tuple(name for name in ("TF32",) if name in has.builder_flags)
    obey = tuple(n for n in ("OBEY_PRECISION_CONSTRAINTS",) if n in has.builder_flags)
    # Types can be taken from the file by a flag, or because there is no other way. What this
    # TensorRT has no name for, it does by itself.
    strong = "STRONGLY_TYPED" in has.network_flags or not has.weak_types
    batch = tuple(name for name in ("EXPLICIT_BATCH",) if name in has.network_flags)
    typed = (*batch, *(name for name in ("STRONGLY_TYPED",) if name in has.network_flags))

    def weak(route: str, source: Path, *flags: str) -> Plan:
        return Plan(route, source, batch, (*flags, *obey), exact, FLOAT_LAYERS)

    if precision == "fp32":
        yield Plan("float32", model, batch, clear_flags=exact)
    elif precision == "fp16":
        if has.weak_types:
            yield weak("half by flag", own or model, "FP16")
        if own is not None and strong:
            yield Plan("half by type", own, typed, clear_flags=exact)
        if own is not None and has.weak_types:
            yield weak("half by flag", model, "FP16")
    elif own is not None:
        if has.weak_types and "INT8" in has.builder_flags:
            yield weak("int8 by scales and flags", own, "INT8", "FP16")
        if strong:
            yield Plan("int8 by scales", own, typed, clear_flags=exact)
