"""Puts the module together: the classes of a version, with no member that it lacks."""

from __future__ import annotations

import ctypes
import types
from typing import Any

from tests.fake_tensorrt import building, network, running
from tests.fake_tensorrt.base import MODULE, Dims, Strict
from tests.fake_tensorrt.building import IHostMemory, IProgressMonitor
from tests.fake_tensorrt.enums import make_enum
from tests.fake_tensorrt.faults import Faults
from tests.fake_tensorrt.loggers import ILogger, Log
from tests.fake_tensorrt.releases import RELEASES, Release

_STRUCTURE: Any = type(ctypes.Structure)

_TEMPLATES: tuple[type[Any], ...] = (
    network.ITensor,
    network.ILayer,
    network.INetworkDefinition,
    network.ParserError,
    network.OnnxParser,
    building.IOptimizationProfile,
    building.ITimingCache,
    building.IBuilderConfig,
    building.Builder,
    running.Runtime,
    running.ICudaEngine,
    running.EngineInspector,
    running.IExecutionContext,
)


def make_module(version: str, faults: Faults | None = None) -> types.ModuleType:
    """A module `tensorrt` of a version."""
    release = RELEASES[version]
    module: Any = types.ModuleType("tensorrt", "A stand-in for TensorRT's Python bindings.")
    module.__version__ = release.version
    module._release = release
    module._faults = faults or Faults()
    module._log = Log(release.major)
    module.Dims, module.ILogger = Dims, ILogger
    if release.major >= 10:
        module.IProgressMonitor = IProgressMonitor
    for name, members in release.enums.items():
        setattr(module, name, make_enum(name, members))
    for template in _TEMPLATES:
        setattr(module, template.__name__, _specialised(template, release, module))
    module.IHostMemory = _STRUCTURE(
        "IHostMemory",
        (ctypes.Structure,),
        {**_members(IHostMemory), "__module__": MODULE, "_api": module},
    )
    return module  # type: ignore[no-any-return]


def _specialised(template: type[Any], release: Release, module: Any) -> type[Any]:
    """A class of a version, without what it lacks."""
    spans: dict[str, tuple[int, int]] = template._spans
    members: dict[str, Any] = {}
    for attribute, value in _members(template).items():
        first, gone = spans.get(attribute, (0, 99))
        if not first <= release.major < gone:
            continue
        members[attribute] = value
    return type(template.__name__, (Strict,), {**members, "__module__": MODULE, "_api": module})


def _members(template: type[Any]) -> dict[str, Any]:
    left_out = ("__dict__", "__weakref__", "__module__", "_fields_", "__annotations__")
    return {name: value for name, value in vars(template).items() if name not in left_out}
