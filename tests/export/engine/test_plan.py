"""The planner's decisions, for what each TensorRT has."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import EngineError
from edge.manifest import Precision
from export.engine.plan import FLOAT_LAYERS, Capabilities, Plan, plans, workspace

MODEL = Path("model.onnx")
OWN, TWIN = Path("model.own.onnx"), Path("model.twin.onnx")

_WEAK = {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
_ALWAYS = {"TF32", "REFIT", "GPU_FALLBACK"}

TRT_85 = Capabilities(frozenset({"EXPLICIT_BATCH"}), frozenset(_WEAK | _ALWAYS), True, False)
TRT_86 = TRT_85
TRT_10 = Capabilities(
    frozenset({"EXPLICIT_BATCH", "STRONGLY_TYPED"}), frozenset(_WEAK | _ALWAYS), True, True
)
TRT_11 = Capabilities(frozenset({"STRONGLY_TYPED"}), frozenset(_ALWAYS), False, True)
TRT_12 = Capabilities(frozenset(), frozenset(_ALWAYS), False, True)
"""Not there yet: what 11 calls deprecated is gone."""

BATCH, TYPED = ("EXPLICIT_BATCH",), ("EXPLICIT_BATCH", "STRONGLY_TYPED")
OBEY = "OBEY_PRECISION_CONSTRAINTS"
TF32 = ("TF32",)


def by_flag(source: Path) -> Plan:
    return Plan("half by flag", source, BATCH, ("FP16", OBEY), TF32, FLOAT_LAYERS)


def by_scales(flags: tuple[str, ...]) -> list[Plan]:
    routes = (("int8 by scales, else half", TWIN), ("int8 by scales", OWN))
    return [Plan(route, source, flags, (), TF32) for route, source in routes]


def both(path: Path, kind: str) -> Path:
    return TWIN if kind == "int8.fp16" else OWN


SCALES_AND_FLAGS = Plan(
    "int8 by scales and flags", OWN, BATCH, ("INT8", "FP16", OBEY), TF32, FLOAT_LAYERS
)


@pytest.mark.parametrize(
    ("has", "precision", "expected"),
    [
        (TRT_86, "fp32", [Plan("float32", MODEL, BATCH, (), TF32)]),
        (TRT_10, "fp32", [Plan("float32", MODEL, BATCH, (), TF32)]),
        (TRT_11, "fp32", [Plan("float32", MODEL, (), (), TF32)]),
        (TRT_12, "fp32", [Plan("float32", MODEL, (), (), TF32)]),
        (TRT_86, "fp16", [by_flag(OWN), by_flag(MODEL)]),
        (
            TRT_10,
            "fp16",
            [Plan("half by type", OWN, TYPED, (), TF32), by_flag(OWN), by_flag(MODEL)],
        ),
        (TRT_11, "fp16", [Plan("half by type", OWN, ("STRONGLY_TYPED",), (), TF32)]),
        (TRT_12, "fp16", [Plan("half by type", OWN, (), (), TF32)]),
        (TRT_86, "int8", [SCALES_AND_FLAGS]),
        (TRT_10, "int8", [*by_scales(TYPED), SCALES_AND_FLAGS]),
        (TRT_11, "int8", by_scales(("STRONGLY_TYPED",))),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_decides(has: Capabilities, precision: Precision, expected: list[Plan]) -> None:
    assert list(plans(has, MODEL, precision, both)) == expected


def test_half_by_flag_needs_no_file_of_its_own() -> None:
    assert plans(TRT_10, MODEL, "fp16", lambda path, kind: None) == (by_flag(MODEL),)


@pytest.mark.parametrize(
    ("has", "precision"), [(TRT_11, "fp16"), (TRT_86, "int8"), (TRT_10, "int8"), (TRT_11, "int8")]
)
def test_says_which_file_is_missing_and_how_it_is_made(
    has: Capabilities, precision: Precision
) -> None:
    with pytest.raises(EngineError, match=rf"no model\.{precision}\.onnx beside") as caught:
        plans(has, MODEL, precision, lambda path, kind: None)
    assert f"--precision {precision}" in str(caught.value)


def test_never_combines_flags_of_precision_with_strong_types() -> None:
    for has in (TRT_85, TRT_10, TRT_11, TRT_12):
        for precision in ("fp32", "fp16", "int8"):
            for plan in plans(has, MODEL, precision, lambda path, kind: OWN):
                if "STRONGLY_TYPED" in plan.network_flags:
                    assert not plan.set_flags and not plan.float_layers


@pytest.mark.parametrize(
    ("free", "wanted", "expected"),
    [
        (8 << 30, None, 1 << 30),
        (2 << 30, None, 512 << 20),
        (100 << 20, None, 64 << 20),
        (8 << 30, 77, 77),
    ],
)
def test_a_build_takes_a_quarter_of_the_memory_within_limits(
    free: int, wanted: int | None, expected: int
) -> None:
    assert workspace(free, wanted) == expected
