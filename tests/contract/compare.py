"""Compares the fake, or a call that was made to it, with the surface of a real version."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from tests.contract.signatures import Member, Parameter, Signature, Surface
from tests.fake_tensorrt.base import Strict
from tests.fake_tensorrt.uses import Use


def excess(fake: Any, real: Surface) -> Iterator[str]:
    """What a fake module has and the real one has not, in words.

    Args:
        fake: the module.
        real: of the same version.
    """
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


def refuses(use: Use, real: Surface) -> str | None:
    """Why the real version would refuse a call that was made to the fake; None if it would not."""
    member = real.classes.get(use.owner, {}).get(use.name)
    where = f"{use.owner}.{use.name}"
    if member is None:
        return f"{where} is not there"
    if use.kind != "call":
        wrong = use.kind == "set" and not member.settable
        return f"{where} cannot be set" if wrong else None
    if not member.signatures or any(_accepts(s, use) for s in member.signatures):
        return None
    return f"{where} takes {member.signatures}, was given {use.positional} and {use.keywords}"


def _accepts(signature: Signature, use: Use) -> bool:
    by_position, rest = signature[: use.positional], signature[use.positional :]
    names = [parameter.name for parameter in rest]
    needed = [parameter.name for parameter in rest if not parameter.optional]
    return (
        len(by_position) == use.positional
        and set(use.keywords) <= set(names)
        and set(needed) <= set(use.keywords)
    )


def missing(chains: Sequence[tuple[str, ...]], real: Surface) -> list[str]:
    """Those of some chains that lead to nothing."""
    return [".".join(chain) for chain in chains if not real.has(*chain)]
