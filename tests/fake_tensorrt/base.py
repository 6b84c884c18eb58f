"""What all classes of the fake share: how pybind11's differ from Python's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

MODULE = "tensorrt.tensorrt"

Spans = dict[str, tuple[int, int]]
"""Members that not every version has, each with its first and its first missing major version."""


class Strict:
    """An object of a bound class: made by no one but the library, and without a `__dict__`."""

    _api: ClassVar[Any]
    _spans: ClassVar[Spans] = {}

    def __init__(self) -> None:
        raise TypeError(f"{MODULE}.{type(self).__name__}: No constructor defined!")

    def __setattr__(self, name: str, value: object) -> None:
        bound = type(self).__module__ == MODULE
        if bound and not name.startswith("_") and not hasattr(type(self), name):
            kind = f"{MODULE}.{type(self).__name__}"
            raise AttributeError(f"'{kind}' object has no attribute '{name}'")
        object.__setattr__(self, name, value)


class MustInit(type):
    """Of classes that are made to be derived from: pybind11 insists on the base's `__init__`."""

    def __call__(cls, *args: Any, **keywords: Any) -> Any:
        made = super().__call__(*args, **keywords)
        if not getattr(made, "_initialised", False):
            base = next(c for c in cls.__mro__ if c.__module__ == MODULE)
            raise TypeError(
                f"{MODULE}.{base.__name__}.__init__() must be called when overriding __init__"
            )
        return made


def make(owner: type[Any], **state: Any) -> Any:
    """An object of a class that has no constructor, as only the library makes it."""
    made = object.__new__(owner)
    for name, value in state.items():
        object.__setattr__(made, f"_{name}", value)
    return made


def expect(value: object, kind: type[Any], function: str) -> None:
    """Refuse an argument of another type, as pybind11 does."""
    if not isinstance(value, kind):
        raise _incompatible(value, function)


def _incompatible(value: object, function: str) -> TypeError:
    what = "constructor" if function == "__init__" else "function"
    return TypeError(
        f"{function}(): incompatible {what} arguments. The following argument types are "
        f"supported:\n\nInvoked with: {value!r}"
    )


def as_int(value: object, function: str) -> int:
    """An argument that the bindings take for an integer."""
    if isinstance(value, float) or not hasattr(value, "__int__"):
        raise _incompatible(value, function)
    return int(value)


class Dims:
    """A shape; -1 stands for what is not known yet."""

    __module__ = MODULE

    def __init__(self, shape: Any = ()) -> None:
        self._shape: tuple[int, ...] | None = tuple(int(size) for size in shape)

    def __len__(self) -> int:
        return -1 if self._shape is None else len(self._shape)

    def __iter__(self) -> Iterator[int]:
        return iter(self._shape or ())

    def __eq__(self, other: object) -> bool:
        shape = other._shape if isinstance(other, Dims) else other
        return isinstance(shape, (tuple, list)) and self._shape == tuple(shape)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return str(self._shape or ())

    __repr__ = __str__


def invalid_dims() -> Dims:
    """What is given for a tensor that has no such shape."""
    dims = Dims()
    dims._shape = None
    return dims


def text_of(shape: Any) -> str:
    """As TensorRT writes shapes in its messages."""
    return "[" + ",".join(str(size) for size in shape) + "]"
