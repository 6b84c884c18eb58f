"""From a network to a plan: the builder, its configuration, profiles and timings."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.fake_tensorrt import driver
from tests.fake_tensorrt.base import (
    MODULE,
    MustInit,
    Spans,
    Strict,
    as_int,
    expect,
    make,
    text_of,
)
from tests.fake_tensorrt.loggers import ILogger
from tests.fake_tensorrt.plan import Plan, Shape, Tensor, write_plan

_BUILD = "IBuilder::buildSerializedNetwork"
_BUILDER_8 = "builder.cpp::buildSerializedNetwork::751"
_NETWORK_8 = "network.cpp::validate::3062"
_STEPS = 4
_STRUCTURE: Any = type(ctypes.Structure)


class IHostMemory(ctypes.Structure):
    """Bytes that the library owns; a buffer without length or methods.

    A ctypes structure is one of the few things that are buffers on every Python that we support.
    """

    def __init__(self) -> None:
        raise TypeError(f"{MODULE}.IHostMemory: No constructor defined!")

    @property
    def nbytes(self) -> int:
        return ctypes.sizeof(self)


def host_memory(kind: type[Any], data: bytes) -> Any:
    """The library's own copy of some bytes."""
    fields = [("_bytes", ctypes.c_ubyte * len(data))]
    sized: Any = _STRUCTURE(kind.__name__, (kind,), {"__module__": MODULE, "_fields_": fields})
    return sized.from_buffer_copy(data)


class IProgressMonitor(Strict, metaclass=MustInit):
    """To be derived from; called as a build goes on, and may end it."""

    __module__ = MODULE

    def __init__(self) -> None:
        self._initialised = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase begins."""

    def step_complete(self, phase_name: str, step: int) -> bool:
        return True

    def phase_finish(self, phase_name: str) -> None:
        """A phase is over."""


class IOptimizationProfile(Strict):
    """The shapes that an engine is built for."""

    _shapes: dict[str, list[Shape]]
    _log: Any

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        """Set the smallest, the best and the largest shape of an input."""
        given = self._shapes[input] = []
        for name, shape in (("min", min), ("opt", opt), ("max", max)):
            sizes = tuple(as_int(size, "set_shape") for size in shape)
            grows = not given or (
                len(sizes) == len(given[-1])
                and all(a <= b for a, b in zip(given[-1], sizes, strict=True))
            )
            if any(size < 0 for size in sizes) or not grows:
                raise RuntimeError(f"Shape provided for {name} is inconsistent with other shapes.")
            given.append(sizes)

    def _valid(self) -> bool:
        return all(len(shapes) == 3 for shapes in self._shapes.values())


class ITimingCache(Strict):
    """How quick kernels were, for the next build."""

    _data: dict[str, Any]

    def serialize(self) -> Any:
        return host_memory(self._api.IHostMemory, json.dumps(self._data).encode())


class IBuilderConfig(Strict):
    """How a network is built."""

    _spans: ClassVar[Spans] = {"progress_monitor": (10, 99)}
    _flags: set[int]
    _pools: dict[int, int]
    _profiles: list[Any]
    _cache: Any
    _monitor: Any
    _builder: Any
    _verbosity: Any

    def set_flag(self, flag: Any) -> None:
        expect(flag, self._api.BuilderFlag, "set_flag")
        self._flags.add(int(flag))

    def clear_flag(self, flag: Any) -> None:
        expect(flag, self._api.BuilderFlag, "clear_flag")
        self._flags.discard(int(flag))

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        expect(pool, self._api.MemoryPoolType, "set_memory_pool_limit")
        self._pools[int(pool)] = as_int(pool_size, "set_memory_pool_limit")

    def add_optimization_profile(self, profile: Any) -> int:
        expect(profile, self._api.IOptimizationProfile, "add_optimization_profile")
        if not profile._valid():
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: Any) -> Any:
        data = bytes(memoryview(serialized_timing_cache))
        try:
            known = json.loads(data) if data else {"machine": self._machine(), "kernels": []}
        except ValueError:
            return None
        return make(self._api.ITimingCache, data=known)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        expect(cache, self._api.ITimingCache, "set_timing_cache")
        if cache._data["machine"] != self._machine() and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        expect(monitor, IProgressMonitor, "progress_monitor")
        self._monitor = monitor

    @property
    def profiling_verbosity(self) -> Any:
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, verbosity: Any) -> None:
        expect(verbosity, self._api.ProfilingVerbosity, "profiling_verbosity")
        self._verbosity = verbosity

    def _machine(self) -> str:
        gpu = driver.device()
        return f"{self._api._release.library} {gpu.name} {gpu.compute_capability}"

    def _named_flags(self) -> tuple[str, ...]:
        members = self._api.BuilderFlag.__members__.items()
        return tuple(sorted(name for name, member in members if int(member) in self._flags))


class Builder(Strict):
    """Makes networks, configurations and plans."""

    def __init__(self, logger: Any) -> None:
        expect(logger, ILogger, "__init__")
        log = self._api._log
        log.register(self, logger, "createInferBuilder")
        refuse_without_cuda(self._api, "createInferBuilder")
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        return make(
            self._api.INetworkDefinition,
            builder=self,
            flags=as_int(flags, "create_network"),
            graph=None,
            layers=[],
            log=self._api._log,
        )

    def create_builder_config(self) -> Any:
        api = self._api
        return make(
            api.IBuilderConfig,
            builder=self,
            flags={int(api.BuilderFlag.TF32)},
            pools={},
            profiles=[],
            cache=None,
            monitor=None,
            verbosity=api.ProfilingVerbosity.LAYER_NAMES_ONLY,
        )

    def create_optimization_profile(self) -> Any:
        return make(self._api.IOptimizationProfile, shapes={}, log=self._api._log)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        expect(network, self._api.INetworkDefinition, "build_serialized_network")
        expect(config, self._api.IBuilderConfig, "build_serialized_network")
        if self._fails(network) or not self._checked(network, config):
            return None
        if not self._worked(config):
            return None
        if config._cache is not None:
            kernels = {*config._cache._data["kernels"], *(str(x.type) for x in network._layers)}
            config._cache._data["kernels"] = sorted(kernels)
        return host_memory(self._api.IHostMemory, write_plan(self._plan(network, config)))

    def _fails(self, network: Any) -> bool:
        faults = self._api._faults
        kind = "typed" if network._strongly_typed() else "weak"
        if faults.build_dies in ("any", kind):
            os.kill(os.getpid(), faults.build_signal)
        line = faults.build_fails or getattr(faults, f"build_fails_{kind}")
        if line:
            self._api._log.say("ERROR", line)
        return bool(line)

    def _checked(self, network: Any, config: Any) -> bool:
        for code, kind, reason in _objections(network, config):
            self._api._log.error(code, kind, reason, _BUILD, _NETWORK_8)
            if self._api._release.major < 10:
                self._api._log.error(
                    2, "Internal Error", "Assertion engine != nullptr failed. ", "", _BUILDER_8
                )
            return False
        return True

    def _worked(self, config: Any) -> bool:
        monitor, pause = config._monitor, self._api._faults.build_seconds / _STEPS
        if monitor is None:
            time.sleep(pause * _STEPS)
            return True
        outer, inner = "Building Engine", "Computing profile costs"
        monitor.phase_start(outer, None, 1)
        monitor.phase_start(inner, outer, _STEPS)
        goes_on = True
        for step in range(_STEPS):
            time.sleep(pause)
            goes_on = goes_on and monitor.step_complete(inner, step)
        monitor.phase_finish(inner)
        goes_on = goes_on and monitor.step_complete(outer, 0)
        monitor.phase_finish(outer)
        return bool(goes_on)

    def _plan(self, network: Any, config: Any) -> Plan:
        graph, release, faults = network._graph, self._api._release, self._api._faults
        gpu = driver.device()
        return Plan(
            archive=release.archive,
            library=faults.library or release.library,
            compute_capability=faults.compute_capability or gpu.compute_capability,
            gpu=gpu.name,
            tensors=(
                *(Tensor(v.name, True, v.dtype, v.shape) for v in graph.inputs),
                *(Tensor(v.name, False, v.dtype, v.shape) for v in graph.outputs),
            ),
            profiles=tuple(
                {name: (s[0], s[1], s[2]) for name, s in profile._shapes.items()}
                for profile in config._profiles
            ),
            onnx=graph.onnx,
            layers=tuple(_layers(network, config)),
            pins_ignored=_pins_ignored(network, config),
        )


def _pins_ignored(network: Any, config: Any) -> bool:
    half = "FP16" in config._named_flags() and not network._strongly_typed()
    pinned = any(layer._precision is not None for layer in network._layers)
    return half and pinned and network._api._faults.ignores_pins


def _layers(network: Any, config: Any) -> Iterator[tuple[str, str]]:
    """What the inspector says of each layer: its name, and the type of its results if asked for."""
    detailed = config._verbosity == network._api.ProfilingVerbosity.DETAILED
    weak = not network._strongly_typed() and "FP16" in config._named_flags()
    for layer in network._layers:
        kind = layer._layer.outputs[0].dtype
        if (
            weak
            and kind == "FLOAT"
            and (layer._precision is None or _pins_ignored(network, config))
        ):
            kind = "HALF"
        yield layer.name, kind if detailed else ""


def refuse_without_cuda(api: Any, function: str) -> None:
    """What builder and runtime do where CUDA does not start: say it, and be nothing."""
    error = api._faults.cuda_error or driver.start_error()
    if error:
        reason = (
            f"CUDA initialization failure with error: {error}. Please check your CUDA installation"
        )
        old = f"{function}::1"
        api._log.error(6, "API Usage Error", reason, function, old)
        raise TypeError("pybind11::init(): factory function returned nullptr")


Objection = tuple[int, str, str]


def _objections(network: Any, config: Any) -> Iterator[Objection]:
    """Reasons not to build, in the order in which they are found: code, its name, reason."""
    if network._graph is None or not network._graph.outputs:
        yield 4, "Internal Error", "Network must have at least one output"
        return
    yield from _flag_objections(network, config)
    yield from _type_objections(network, config)
    for value in network._graph.inputs:
        if not config._profiles and -1 in value.shape:
            yield (
                4,
                "API Usage Error",
                "Network has dynamic or shape inputs, but no optimization profile has been "
                "defined.",
            )
        for number, profile in enumerate(config._profiles):
            yield from _profile_objections(value, number, profile)


def _flag_objections(network: Any, config: Any) -> Iterator[Objection]:
    """A strongly typed network and flags for precisions exclude each other."""
    if network._strongly_typed():
        precisions = {"FP16", "INT8", "BF16", "FP8", "INT4"}
        for name in sorted(precisions & set(config._named_flags())):
            yield (
                3,
                "API Usage Error",
                f"Parameter check failed, condition: !config.getFlag(BuilderFlag::k{name}). In "
                "createNetworkBuildConfig at /_src/optimizer/api/builder.cpp:893",
            )


def _type_objections(network: Any, config: Any) -> Iterator[Objection]:
    """Weakly typed, what the file holds must be allowed by a flag as well."""
    if network._strongly_typed():
        return
    held = {"FP16": network._graph.has_half, "INT8": network._graph.has_scales}
    for flag, is_held in held.items():
        if is_held and flag not in config._named_flags():
            name = flag.lower()
            yield (
                4,
                "API Usage Error",
                f"{name} precision has been set for at least one layer or layer output, but {name} "
                "is not configured in the builder.",
            )


def _profile_objections(value: Any, number: int, profile: Any) -> Iterator[Objection]:
    shapes = profile._shapes.get(value.name)
    if shapes is None:
        if -1 in value.shape:
            yield (
                4,
                "API Usage Error",
                f"{value.name}: dynamic input is missing dimensions in profile {number}.",
            )
        return
    for which, shape in zip(("kMIN", "kOPT", "kMAX"), shapes, strict=True):
        fits = len(shape) == len(value.shape) and all(
            fixed in (-1, size) for fixed, size in zip(value.shape, shape, strict=True)
        )
        if not fits:
            yield (
                4,
                "API Usage Error",
                f"Input tensor {value.name} has static dimensions that don't match {which} "
                f"dimensions in profile index {number}. Input dimensions are "
                f"{text_of(value.shape)} but profile dimensions are {text_of(shape)}.",
            )
