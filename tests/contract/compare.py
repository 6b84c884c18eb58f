"""Compares the fake, or a call that was made to it, with the surface of a real version."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from tests.contract.signatures import Member, Parameter, Signature, Surface
from tests.fake_tensorrt.base import Strict


def excess(fake: Any, real: Surface) -> Iterator[str]:
    """What a fake module has and the real one has not, in words."""
    for name, value in vars(fake).items():
        if name.startswith("_"):
            continue
        if not real.has(name):
            yield f"{name} is not in the module"
        elif isinstance(value, type):
            yield from _excess_of_class(name, value, real)


def _excess_of_class(name: str, owner: type[Any], real: Surface) -> Iterator[str]:
    members = real.classes[name]
    for attribute in [a for a in dir(owner) if not a.startswith("_")] + ["__init__"]:
        where = f"{name}.{attribute}"
        if attribute not in members:
            yield f"{where} is not there"
        else:
            yield from _difference(where, owner, attribute, members[attribute])


def _difference(where: str, owner: type[Any], attribute: str, real: Member) -> Iterator[str]:
    value = inspect.getattr_static(owner, attribute)
    if isinstance(value, property):
        if real.kind != "property":
            yield f"{where} is a {real.kind}"
        elif value.fset and not real.settable:
            yield f"{where} cannot be set"
    elif inspect.isfunction(value) and value is not Strict.__init__:
        yield from _difference_of_calls(where, value, real)
    elif isinstance(value, owner) and real.value is not None and int(value) != real.value:
        yield f"{where} is {real.value}, not {int(value)}"


def _difference_of_calls(where: str, function: Any, real: Member) -> Iterator[str]:
    if real.kind != "method":
        yield f"{where} is a {real.kind}"
        return
    mine = parameters_of(function)
    if real.signatures and not _covered(mine, real.signatures):
        yield f"{where} takes {real.signatures}, not {mine}"


def parameters_of(function: Any) -> Signature:
    """Of a Python function, `self` apart."""
    given = list(inspect.signature(function).parameters.values())[1:]
    return tuple(Parameter(p.name, p.default is not p.empty) for p in given)


def _covered(mine: Signature, overloads: Sequence[Signature]) -> bool:
    """Whether every call that mine accepts, one of the overloads accepts as well."""
    least = sum(not parameter.optional for parameter in mine)
    given = [mine[:count] for count in range(least, len(mine) + 1)]
    return all(any(_within(call, theirs) for theirs in overloads) for call in given)


def _within(call: Signature, theirs: Signature) -> bool:
    """Whether just these parameters may be given."""
    shared = [parameter.name for parameter in theirs[: len(call)]]
    rest = theirs[len(call) :]
    return shared == [parameter.name for parameter in call] and all(p.optional for p in rest)
