"""What an imported TensorRT can do, and how a precision is had from it. Nothing here calls it.

| TensorRT | float32 | half | int8 |
| --- | --- | --- | --- |
| 8.6 | as parsed | flag | Q/DQ file and flags |
| 10 | as parsed | typed file; flag if that fails | typed Q/DQ files; then with flags |
| 11 | as parsed | typed file | typed Q/DQ files |

Of int8 there are two, and the twin, with half precision between, comes first.

Strong types come first: weakly typed builders are known to ignore what layers are pinned to, and
their documentation forbids the flags beside explicit quantisation. The flag for half precision is
set on the typed file too: its weights were rounded with care for the sums of their kernels.

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

FLOAT_LAYERS = ("/pixels/", "/head/", "/pooling/", "/ReduceMean")
"""How names of layers begin that are held to float32 where TensorRT chooses types: the differences
of grey levels, which half precision would blur, and the few sums at the end."""

SMALLEST_WORKSPACE, LARGEST_WORKSPACE = 64 << 20, 1024 << 20


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
        frozenset(filter(str.isupper, dir(trt.NetworkDefinitionCreationFlag))),
        frozenset(filter(str.isupper, dir(trt.BuilderFlag))),
        hasattr(trt.ILayer, "precision") and hasattr(trt.ILayer, "set_output_type"),
        hasattr(trt, "IProgressMonitor") and hasattr(trt.IBuilderConfig, "progress_monitor"),
    )


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


Find = Callable[[Path, str], Path | None]
"""Gives the variant of a model file in a precision, or None."""


def plans(
    capabilities: Capabilities,
    model: Path,
    precision: Precision,
    find: Find = variant,
) -> tuple[Plan, ...]:
    """The ways to an engine, the one to be tried first at the front; at least one.

    Where there is no way, EngineError says which file is missing.
    """
    found = tuple(_ways(capabilities, model, precision, find))
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


def _of(flags: frozenset[str], *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in flags)


def _ways(has: Capabilities, model: Path, precision: Precision, find: Find) -> Iterable[Plan]:
    own = find(model, precision)
    # TF32 rounds the products of convolutions to 10 bits, and is on by default.
    exact = _of(has.builder_flags, "TF32")
    obey = _of(has.builder_flags, "OBEY_PRECISION_CONSTRAINTS")
    # Types can be taken from the file by a flag, or because there is no other way. What this
    # TensorRT has no name for, it does by itself.
    strong = "STRONGLY_TYPED" in has.network_flags or not has.weak_types
    batch = _of(has.network_flags, "EXPLICIT_BATCH")
    typed = _of(has.network_flags, "EXPLICIT_BATCH", "STRONGLY_TYPED")

    def weak(route: str, source: Path, *flags: str) -> Plan:
        return Plan(route, source, batch, (*flags, *obey), exact, FLOAT_LAYERS)

    def by_types(*ways: tuple[str, Path | None]) -> Iterable[Plan]:
        for route, source in ways:
            if strong and source is not None:
                yield Plan(route, source, typed, clear_flags=exact)

    if precision == "fp32":
        yield Plan("float32", model, batch, clear_flags=exact)
    elif precision == "fp16":
        yield from by_types(("half by type", own))
        for source in dict.fromkeys((own or model, model)) if has.weak_types else ():
            yield weak("half by flag", source, "FP16")
    elif own is not None:
        twin = find(model, "int8.fp16")
        yield from by_types(("int8 by scales, else half", twin), ("int8 by scales", own))
        if has.weak_types and "INT8" in has.builder_flags:
            yield weak("int8 by scales and flags", own, "INT8", "FP16")
