"""Enums as pybind11 makes them: neither iterable nor ordered, and equal to their own kind alone."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from tests.fake_tensorrt.releases import Members


class _Members:
    """`__members__`, which pybind11 gives on the class."""

    def __get__(self, instance: object, owner: type[Any]) -> MappingProxyType[str, Any]:
        return MappingProxyType({name: getattr(owner, name) for name in owner._names})


class PybindEnum:
    """Base of all of them; a member is made by the class of its number, `DataType(5)`."""

    _names: tuple[str, ...] = ()
    _value: int

    __members__ = _Members()

    def __init__(self, value: int) -> None:
        self._value = value

    @property
    def name(self) -> str:
        """Of the member; of two with one number the first."""
        return self._name()

    def _name(self) -> str:
        found = [name for name in self._names if getattr(type(self), name)._value == self._value]
        return found[0] if found else "???"

    @property
    def value(self) -> int:
        """Its number."""
        return self._value

    def __int__(self) -> int:
        return self._value

    def __index__(self) -> int:
        return self._value

    def __hash__(self) -> int:
        return self._value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._name()}"

    def __repr__(self) -> str:
        return f"<{self}: {self._value}>"


def make_enum(name: str, members: Members) -> type[PybindEnum]:
    """An enum with these members."""
    enum = type(name, (PybindEnum,), {"__module__": "tensorrt.tensorrt", "_names": tuple(members)})
    for member, number in members.items():
        setattr(enum, member, enum(number))
    return enum
