"""Prints what a module has, as JSON; run in a process of its own, with the real bindings."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def describe(owner: object, name: str) -> dict[str, Any]:
    """One attribute: its kind, its docstring, and the number of an enum's member."""
    value = getattr(owner, name)
    if isinstance(value, type):
        return {"kind": "class"}
    if isinstance(owner, type) and isinstance(value, owner):
        return {"kind": "member", "value": int(value)}  # type: ignore[call-overload]
    if callable(value):
        return {"kind": "method", "doc": value.__doc__ or ""}
    return {"kind": "property", "settable": getattr(value, "fset", None) is not None}


def members(owner: type) -> dict[str, Any]:
    """The public attributes of a class, and its constructor."""
    names = [name for name in dir(owner) if not name.startswith("_")]
    return {name: describe(owner, name) for name in [*names, "__init__"]}


def main(name: str) -> None:
    """Print the surface of a module."""
    module = importlib.import_module(name)
    surface: dict[str, Any] = {"classes": {}, "others": {}}
    for public in sorted(vars(module)):
        value = vars(module)[public]
        if public.startswith("_") and public != "__version__":
            continue
        if isinstance(value, type):
            surface["classes"][public] = members(value)
        elif not isinstance(value, type(sys)):
            surface["others"][public] = getattr(value, "__doc__", None) or ""
    json.dump(surface, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
