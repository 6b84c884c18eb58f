"""What runs a model file: a table of backends, each imported only when it is chosen."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge.backends.base import Backend, BackendChoice
from edge.backends.providers import NAMES
from edge.cpus import thread_limit
from edge.errors import UsageError

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["BACKENDS", "ENGINE_SUFFIX", "BackendChoice", "BackendEntry", "open_backend"]

ENGINE_SUFFIX = ".engine"


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A row of the table.

    Attributes:
        factory: "module:function", called with the model file and the choice.
        devices: what `--device` may name for it.
        suffix: of files that only this backend runs; all of them take `.onnx`.
    """

    factory: str
    devices: tuple[str, ...] = ("cpu",)
    suffix: str | None = None


BACKENDS: dict[str, BackendEntry] = {
    "auto": BackendEntry("edge.backends.auto:open_model"),
    "onnxruntime": BackendEntry("edge.backends.onnxruntime:open_model", devices=tuple(NAMES)),
    "openvino": BackendEntry("edge.backends.openvino:open_model", devices=("cpu", "gpu", "npu")),
    "tensorrt": BackendEntry("edge.backends.tensorrt:open_model", suffix=ENGINE_SUFFIX),
}
"""Every backend; the flags and the configuration's choices come from here."""

DEVICES = tuple(dict.fromkeys(name for entry in BACKENDS.values() for name in entry.devices))

if TYPE_CHECKING:
    BackendName: TypeAlias = str
    Device: TypeAlias = str
else:
    BackendName = Literal[tuple(BACKENDS)]
    Device = Literal[DEVICES]


def open_backend(
    path: Path, threads: int | None = None, choice: BackendChoice | None = None
) -> Backend:
    """The backend for a model file.

    Args:
        path: an `.onnx` file, or one of a suffix in the table.
        threads: threads per operator, in place of the choice's; where neither names any, as many as
            CPUs may be used.
        choice: which backend, and its settings; ONNX Runtime on the CPU if None.

    Raises:
        ModelError: the file cannot be used.
        UsageError: the choices do not go together.
        MissingDependency: the runtime, or what it needs, is not installed.
        GpuError: a GPU is needed, and none answers.
    """
    choice = choice or BackendChoice()
    name = next((n for n, e in BACKENDS.items() if e.suffix == path.suffix), choice.name)
    if name == "auto" and (choice.device, choice.precision) not in (("cpu", None), ("cpu", "fp32")):
        # On a CPU another precision pays in OpenVINO alone; the rest have devices of their own.
        rows = ("openvino",) if choice.device == "cpu" else BACKENDS
        name = next((row for row in rows if choice.device in BACKENDS[row].devices), name)
    entry = BACKENDS[name]
    if choice.device not in entry.devices:
        raise UsageError(
            f"--device {choice.device} does not go with the backend {name}, which takes "
            f"{', '.join(entry.devices)}. Leave --device out, or choose another --backend."
        )
    module, _, function = entry.factory.partition(":")
    factory: Callable[[Path, BackendChoice], Backend]
    factory = getattr(importlib.import_module(module), function)
    return factory(
        path, replace(choice, name=name, threads=threads or choice.threads or thread_limit())
    )
