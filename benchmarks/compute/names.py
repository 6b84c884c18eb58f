"""Words that the parts of this package share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from benchmarks.section import Row

Form = Literal["naive", "plain", "folded"]
"""Which graph of a model is counted:

- `naive`: as published, nothing folded, in torch;
- `plain`: the algorithm once folded, on the channels that it has, in torch; shapes alone;
- `folded`: the ONNX graph that is shipped and executed; Tiny-LaDeDa's is packed.
"""

SizeHW = tuple[int, int]
"""Height and width in pixels."""

STUDENT, TEACHER = "tiny_ladeda", "ladeda9"
LITE = "lite0_levels"
"""The architecture of the default model."""

FORMS: Mapping[Form, str] = {
    "naive": "as published",
    "plain": "folded, algorithm",
    "folded": "folded, executed",
}
"""Form → what a report calls it; in the order of the steps from one to the next."""

Key = tuple[str, str, Form]
"""Model, preprocessing, form."""

LAYERS_OF: tuple[Key, ...] = (
    (LITE, "raw", "folded"),
    *((STUDENT, "x_grad", form) for form in FORMS),
    (TEACHER, "x_grad", "naive"),
)
"""What is printed layer by layer."""

Table = dict[Key, dict[SizeHW, Row]]
"""Rows that have been counted."""


def model_name(architecture: str) -> str:
    """As its paper writes it; its own name where no paper does."""
    if architecture == STUDENT:
        return "Tiny-LaDeDa"
    if architecture.startswith("ladeda"):
        return f"LaDeDa-{architecture.removeprefix('ladeda')}"
    return architecture
