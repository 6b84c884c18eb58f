"""Reads the surface of a module, and the signatures that pybind11 writes into docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE = re.compile(r"^(?:\d+\. )?\w+\((?P<inside>.*)\)(?: -> .*)?$")
_OPEN, _CLOSE = "([{<", ")]}>"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function, `self` apart."""

    name: str
    optional: bool


Signature = tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One attribute of a class."""

    kind: str
    signatures: tuple[Signature, ...] = ()
    value: int | None = None
    settable: bool = False


@dataclass(frozen=True, slots=True)
class Surface:
    """What a module has: its classes with their attributes, and the names of all else."""

    classes: Mapping[str, Mapping[str, Member]]
    others: frozenset[str]
    docs: Mapping[str, str] = field(default_factory=dict)

    def has(self, *path: str) -> bool:
        """Whether a chain such as BuilderFlag, FP16 leads to something."""
        if len(path) == 1:
            return path[0] in self.classes or path[0] in self.others
        return path[1] in self.classes.get(path[0], {})


def read_surface(data: Mapping[str, Any]) -> Surface:
    """From what `dump_surface` prints."""
    classes = {
        name: {attribute: _member(item) for attribute, item in members.items()}
        for name, members in data["classes"].items()
    }
    return Surface(classes, frozenset(data["others"]), data["others"])


def _member(item: Mapping[str, Any]) -> Member:
    return Member(
        item["kind"],
        tuple(read_signatures(item.get("doc", ""))),
        item.get("value"),
        item.get("settable", False),
    )


def read_signatures(doc: str) -> Iterator[Signature]:
    """The signatures in the docstring of a function that pybind11 bound.

    An overloaded function begins with `name(*args, **kwargs)` and numbers the real ones below; a
    function of the C API, whose docstring has none, gives nothing.
    """
    for line in doc.splitlines():
        match = _LINE.match(line)
        if match and "*args" not in match["inside"] and _typed(match["inside"]):
            parameters = [_parameter(text) for text in split(match["inside"])]
            yield tuple(item for item in parameters if item.name != "self")


def _typed(inside: str) -> bool:
    """Whether what stands in brackets is a list of parameters, and no sentence."""
    return not inside or ":" in inside


def split(inside: str) -> list[str]:
    """At the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(inside):
        arrow = letter == ">" and inside[at - 1] == "-"
        depth += (letter in _OPEN) - (letter in _CLOSE and not arrow)
        if letter == "," and depth == 0:
            parts.append(inside[start:at])
            start = at + 1
    return [part.strip() for part in [*parts, inside[start:]] if part.strip() not in ("", "/")]


def _parameter(text: str) -> Parameter:
    name, _, rest = text.partition(":")
    return Parameter(name.strip(), " = " in rest)
