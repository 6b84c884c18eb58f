"""Puts the fake where `import tensorrt` finds it, and takes away all that saw it."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fake_tensorrt.faults import Faults
from tests.fake_tensorrt.module import make_module

SITE = Path(__file__).with_name("site")


@dataclass(frozen=True, slots=True)
class Installed:
    """A fake that is in place."""

    trt: Any
    faults: Faults


@contextmanager
def installed(version: str = "10.3.0", faults: Faults | None = None) -> Iterator[Installed]:
    """Let `import tensorrt` give the fake in this process.

    Modules that were imported meanwhile and hold it, or anything of such a module, are forgotten
    at the end, so that the next version is not met by classes of the last.
    """
    faults = faults or Faults()
    module = make_module(version, faults)
    before = set(sys.modules)
    had = sys.modules.get("tensorrt")
    sys.modules["tensorrt"] = module
    try:
        yield Installed(module, faults)
    finally:
        _forget(module, set(sys.modules) - before)
        if had is None:
            sys.modules.pop("tensorrt", None)
        else:
            sys.modules["tensorrt"] = had


def site_environment(version: str = "10.3.0", faults: Faults | None = None) -> dict[str, str]:
    """Environment variables with which a process of its own finds the fake."""
    paths = [str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "FAKE_TENSORRT": version,
        **(faults or Faults()).to_environment(),
    }


def _forget(module: types.ModuleType, new: set[str]) -> None:
    """Remove the new modules that hold a module, or hold something of those that do."""
    tainted: set[str] = set()
    while True:
        more = {name for name in new - tainted if _holds(sys.modules.get(name), module, tainted)}
        if not more:
            break
        tainted |= more
    for name in tainted:
        sys.modules.pop(name, None)
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and hasattr(sys.modules[parent], child):
            delattr(sys.modules[parent], child)


def _holds(candidate: Any, module: types.ModuleType, tainted: set[str]) -> bool:
    for value in list(vars(candidate).values()) if candidate else ():
        if value is module or getattr(value, "__module__", None) in tainted:
            return True
        if isinstance(value, types.ModuleType) and value.__name__ in tainted:
            return True
    return False
