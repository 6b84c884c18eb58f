"""Which of the fake's methods were called, and with how many arguments of which names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Use:
    """One way in which a method was called, or a property used.

    Attributes:
        version: of the fake.
        owner: name of the class.
        name: of the method or property.
        positional: arguments given by position, `self` apart.
        keywords: names of those given by name.
        kind: "call", "get" or "set".
    """

    version: str
    owner: str
    name: str
    positional: int = 0
    keywords: tuple[str, ...] = ()
    kind: str = "call"


_USES: set[Use] = set()


def uses() -> frozenset[Use]:
    """All that were seen in this process."""
    return frozenset(_USES)


def recorded(version: str, owner: str, name: str, function: Callable[..., Any]) -> Any:
    """A method that notes how it is called."""

    @functools.wraps(function)
    def call(self: Any, *args: Any, **keywords: Any) -> Any:
        _USES.add(Use(version, owner, name, len(args), tuple(sorted(keywords))))
        return function(self, *args, **keywords)

    return call


def recorded_property(version: str, owner: str, name: str, given: property) -> property:
    """A property that notes that it is used."""

    def read(self: Any) -> Any:
        _USES.add(Use(version, owner, name, kind="get"))
        assert given.fget is not None  # all of ours can be read
        return given.fget(self)

    def write(self: Any, value: Any) -> None:
        _USES.add(Use(version, owner, name, kind="set"))
        assert given.fset is not None  # else there is no writer
        given.fset(self, value)

    return property(read, write if given.fset else None, None, given.__doc__)
