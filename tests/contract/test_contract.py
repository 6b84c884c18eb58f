"""The fake and our code against the real bindings of three versions.

The bindings are downloaded once; where that fails the tests skip and say why. Whatever the fake
takes the real one takes as well, so that a call of ours that runs with the fake is one of the real.
"""

from __future__ import annotations

import difflib
from typing import Any

import pytest

from tests.contract.bindings import real_surface
from tests.contract.calls import Calls, calls_of, our_files
from tests.contract.compare import excess
from tests.contract.signatures import Surface
from tests.fake_tensorrt import VERSIONS
from tests.fake_tensorrt.module import make_module

ABSENT: dict[str, set[str]] = {
    "8.6.1": {"IProgressMonitor"},
    "10.3.0": set(),
    "11.4.0": set(),
}
"""What our code names and a version lacks: only used where a capability says that it is there."""

ABSENT_MEMBERS: dict[str, set[str]] = {
    "8.6.1": {"STRONGLY_TYPED"},
    "10.3.0": set(),
    "11.4.0": {"EXPLICIT_BATCH", "FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"},
}
"""Members of enums that our code has as texts, and takes only if the enum has them."""


@pytest.fixture(scope="module")
def ours() -> Calls:
    return calls_of(path.read_text(encoding="utf-8") for path in our_files())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_has_nothing_that_the_real_one_lacks(version: str) -> None:
    assert list(excess(make_module(version), real_surface(version))) == []


def test_an_excess_is_found() -> None:
    fake: Any = make_module("11.4.0")
    real = real_surface("11.4.0")
    older = make_module("8.6.1")
    found = "\n".join(excess(older, real))
    for text in (
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH is not there",
        "ILayer.precision is not there",
        "BuilderFlag.TF32 is 6, not 7",
    ):
        assert text in found
    fake.Builder.create_network = lambda self, mask=0: None
    fake.IBuilderConfig.num_optimization_profiles = property(lambda s: 0, lambda s, value: None)
    fake.Builder.reset = property(lambda self: None)
    fake.surplus = 1
    found = "\n".join(excess(fake, real))
    for text in (
        "Builder.create_network takes",
        "IBuilderConfig.num_optimization_profiles cannot be set",
        "Builder.reset is a method",
        "surplus is not in the module",
    ):
        assert text in found


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_our_code_names_is_there(version: str, ours: Calls) -> None:
    real = real_surface(version)
    assert all(not real.has(name) for name in ABSENT[version])
    assert {("BuilderFlag",), ("ILogger",)} < ours.chains and ours.guarded, "our files are read"
    named = {chain for chain in ours.chains if chain not in ours.guarded}
    gone = {".".join(chain) for chain in named if not real.has(*chain)}
    assert gone - ABSENT[version] == set()
    assert all(any(real_surface(v).has(*chain) for v in VERSIONS) for chain in ours.guarded)


@pytest.mark.parametrize("version", VERSIONS)
def test_all_members_that_our_code_has_as_texts_are_there(version: str, ours: Calls) -> None:
    known = {v: _members(real_surface(v)) for v in VERSIONS}
    assert not ABSENT_MEMBERS[version] & known[version]
    anywhere = set().union(*known.values())
    used = ours.words & anywhere
    assert used - known[version] - ABSENT_MEMBERS[version] == set()
    similar = {
        word: close
        for word in ours.words - anywhere
        if (close := difflib.get_close_matches(word, anywhere, 1, cutoff=0.85))
    }
    assert similar == {}, "misspelt?"


def _members(real: Surface) -> set[str]:
    enums = ("NetworkDefinitionCreationFlag", "BuilderFlag", "LayerType", "MemoryPoolType")
    return {name for enum in enums for name, m in real.classes[enum].items() if m.kind == "member"}
