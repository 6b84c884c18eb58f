"""Carries out a plan with TensorRT: parse, constrain, build. None, False and -1 are errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorrt as trt

from edge.tensorrt.engine import INPUT, accepted, explained, given, logger
from edge.tensorrt.record import Shape
from export.engine.plan import Capabilities, Plan

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What TensorRT made: the plan's bytes, the layers that were held to float32, what it learned
    of kernels for the next build (None for nothing), and its last messages.
    """

    plan: bytes
    pinned: tuple[str, ...]
    timing_cache: bytes | None
    warnings: tuple[str, ...]


def build(
    plan: Plan,
    capabilities: Capabilities,
    shape: Shape,
    workspace_bytes: int,
    timing_cache: bytes = b"",
    tell: Tell = lambda text: None,
) -> Built:
    """Build an engine for frames of a shape, from 1 up to a full batch.

    A layer may use `workspace_bytes` beyond its tensors; a timing cache of another machine is
    ignored; `tell` hears what TensorRT is at. EngineError carries TensorRT's own words.
    """
    log = logger()
    with explained(f"{plan.source}: no engine ({plan.route})", "build"):
        builder = trt.Builder(log)
        network = given(builder.create_network(_mask(plan)), "no network")
        _parse(network, plan.source)
        pinned = tuple(_pin(network, plan.float_layers)) if capabilities.layer_types else ()
        config = given(builder.create_builder_config(), "no configuration")
        _configure(config, plan, workspace_bytes)
        # Some releases do not keep what they are given alive, so that these names must.
        profile = _add_profile(builder, config, network, shape)
        cache = _take_timings(config, timing_cache)
        monitor = _watch(config, tell) if capabilities.progress else None
        serialized = given(
            builder.build_serialized_network(network, config), "TensorRT gave no engine"
        )
        del profile, monitor
        return Built(
            bytes(serialized),
            pinned,
            _timings(config, cache),
            tuple(line.text for line in log.lines.copy())[-5:],
        )


def _mask(plan: Plan) -> int:
    flags = (getattr(trt.NetworkDefinitionCreationFlag, name) for name in plan.network_flags)
    return sum(1 << int(flag) for flag in flags)


def _parse(network: Any, source: Path) -> None:
    parser = trt.OnnxParser(network, logger())
    # Immutable bytes: older bindings let go of the interpreter's lock before they take the buffer.
    if parser.parse(source.read_bytes()):
        return
    errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
    given(None, "; ".join(errors) or "the parser refused the file and said nothing")


def _pin(network: Any, prefixes: tuple[str, ...]) -> Iterator[str]:
    """Hold layers to float32 that compute with floats; constants and shapes have no such choice."""
    kinds = {
        getattr(trt.LayerType, name)
        for name in ("CONVOLUTION", "ELEMENTWISE", "REDUCE", "SCALE", "ACTIVATION", "POOLING")
    }
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type in kinds and layer.name.startswith(prefixes):
            layer.precision = trt.DataType.FLOAT
            for output in range(layer.num_outputs):
                layer.set_output_type(output, trt.DataType.FLOAT)
            yield layer.name


def _configure(config: Any, plan: Plan, workspace_bytes: int) -> None:
    for name in plan.set_flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name in plan.clear_flags:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # names and types of its layers
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)


def _add_profile(builder: Any, config: Any, network: Any, shape: Shape) -> Any:
    if network.num_inputs != 1 or network.get_input(0).name != INPUT:
        given(None, f"expected one input, {INPUT}")
    size = (shape.height, shape.width, 3)
    profile = given(builder.create_optimization_profile(), "no profile")
    profile.set_shape(INPUT, (1, *size), (shape.batch, *size), (shape.batch, *size))
    index = config.add_optimization_profile(profile)
    accepted(index >= 0, f"the profile for frames of {shape}")
    return profile


def _take_timings(config: Any, data: bytes) -> Any:
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        # Of another machine or version: start again rather than trust it.
        cache = config.create_timing_cache(b"")
        if cache is not None:
            config.set_timing_cache(cache, False)
    return cache


def _timings(config: Any, cache: Any) -> bytes | None:
    taken = config.get_timing_cache() if cache is not None else None
    serialized = None if taken is None else taken.serialize()
    return None if serialized is None else bytes(serialized)


def _watch(config: Any, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the bindings have no types
        """Tells what TensorRT is at."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tell(f"{phase_name} {step + 1}/{self.steps.get(phase_name, 0)}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    monitor = Monitor()
    config.progress_monitor = monitor
    return monitor
