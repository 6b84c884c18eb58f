"""The compute part of the benchmark: which models are counted, in which forms, at which sizes.

torch and onnx are imported by the count alone: a board without them gets rows that say so.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.compute.formulas import Count
from benchmarks.compute.names import LITE, STUDENT, TEACHER, Form, SizeHW
from benchmarks.section import Plan, Row, Tick

SIZES_HW: tuple[SizeHW, ...] = ((224, 224), (256, 256), (512, 512), (720, 1280), (1080, 1920))
QUICK_SIZES_HW: tuple[SizeHW, ...] = ((256, 256), (512, 512), (1080, 1920))
OUT_OF_TIME = "Not counted: no time was left for it."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model in one form."""

    model: str
    preprocessing: str
    form: Form


def _candidates(models: Sequence[tuple[str, str]], forms: Sequence[Form]) -> list[Candidate]:
    return [Candidate(*model, form) for model in models for form in forms]


_STUDENT = (STUDENT, "x_grad")
_STUDENTS = [_STUDENT, (STUDENT, "raw"), (STUDENT, "NPR")]
_LITE = (LITE, "raw")
_TEACHER = (TEACHER, "x_grad")
_OTHERS = [("ladeda5", "x_grad"), ("ladeda17", "x_grad"), ("ladeda33", "x_grad")]
_COUNTED_IN_TORCH: tuple[Form, ...] = ("naive", "plain")
# Not packed: the algorithm once folded is what is executed.
_OF_LITE: tuple[Form, ...] = ("naive", "folded")

# What matters most comes first, and what takes long (a teacher's ONNX file) last.
FULL = [
    *_candidates(_STUDENTS, ("naive", "plain", "folded")),
    *_candidates([_LITE], _OF_LITE),
    *_candidates([_TEACHER, (TEACHER, "raw"), (TEACHER, "NPR")], _COUNTED_IN_TORCH),
    *_candidates(_OTHERS, _COUNTED_IN_TORCH),
    *_candidates([_TEACHER, *_OTHERS], ("folded",)),
]
QUICK = [
    *_candidates([_STUDENT], ("naive", "plain", "folded")),
    *_candidates([_TEACHER], _COUNTED_IN_TORCH),
    *_candidates([_LITE], _OF_LITE[-1:]),
]


class ComputeSection:
    """Parameters, MACs, FLOPs and memory traffic of every model; follows `Section`."""

    name = "compute"
    title = "Compute"

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def steps(self, plan: Plan) -> int:
        """One for each model in each form."""
        return len(_chosen(plan)[0])

    def measure(self, plan: Plan, tick: Tick) -> None:
        """Count; what cannot be, or has no time left, becomes a row that says so."""
        candidates, sizes = _chosen(plan)
        lacking = _what_is_lacking()
        # After the import of torch: on a cold machine that alone takes seconds.
        end = time.monotonic() + plan.budget_s.get(self.name, float("inf"))
        for candidate in candidates:
            if lacking:
                self._rows.append(_missing(candidate, lacking))
            elif time.monotonic() > end:
                self._rows.append(_missing(candidate, OUT_OF_TIME))
            else:
                self._rows.extend(_count(candidate, sizes))
            tick(f"{candidate.model} {candidate.preprocessing}, {candidate.form}")

    def rows(self) -> list[Row]:
        """One for each model, form and size; keys end in their unit."""
        return list(self._rows)


def _chosen(plan: Plan) -> tuple[list[Candidate], tuple[SizeHW, ...]]:
    return (QUICK, QUICK_SIZES_HW) if plan.quick else (FULL, SIZES_HW)


def _what_is_lacking() -> str:
    try:
        importlib.import_module("benchmarks.compute.forms")
    except ModuleNotFoundError as error:
        return (
            f"Counting needs {error.name}, which is not installed. "
            "Run: pip install 'patchwatch[train]'"
        )
    return ""


def _count(candidate: Candidate, sizes: Sequence[SizeHW]) -> list[Row]:
    from benchmarks.compute import forms

    counted = forms.counts(candidate.model, candidate.preprocessing, candidate.form, sizes)
    return [_row(candidate, size, count) for size, count in zip(sizes, counted, strict=True)]


def _row(candidate: Candidate, size: SizeHW, count: Count) -> Row:
    return {
        **asdict(candidate),
        "height_px": size[0],
        "width_px": size[1],
        "parameters": count.parameters,
        "macs": count.macs,
        "flops": count.flops,
        "traffic_bytes": count.traffic_bytes,
        "intensity_flops_per_byte": round(count.intensity, 4),
    }


def _missing(candidate: Candidate, why: str) -> Row:
    return {**asdict(candidate), "missing": why}
