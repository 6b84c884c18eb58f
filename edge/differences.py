"""How far evidence is from what was expected, and how far it may be; needs numpy alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.manifest import Precision

BOUNDS: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 0.25, "int8": 5.0}
"""Largest difference of a logit, and of a patch logit in its map: absolute up to 1, relative above.

Of a file or an engine of a precision from the float32 model file. For float32 ten times what
another order of the sums makes. For the others more than twice what the shipped files differ by at
most, 0.11 and 2.4, on 376 pictures and their degradations (docs/precision.md). For int8 this only
separates the broken from the sound: what int8 costs is measured as AUC on labelled pictures."""

ENGINE_BOUNDS: Mapping[Precision, float] = {**BOUNDS, "fp16": 0.05}
"""The same of an engine on the frames of its proof. In half precision three times what the shipped
files differ by there at most when every result is rounded to half, 0.017: what a strongly typed
engine can hold, and one whose differences of grey levels are in half precision cannot."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one picture, or the largest of several; infinite where a value is not finite or the maps
    do not match, `patch` None without patches. The scaled figures are over max(1, |expected|), of
    the logit and of the largest patch logit in the map.
    """

    logit: float
    patch: float | None
    logit_scaled: float
    patch_scaled: float | None

    @property
    def scaled(self) -> float:
        return max(self.logit_scaled, self.patch_scaled or 0.0)

    def __str__(self) -> str:
        patch = "" if self.patch is None else f" and {self.patch:.2g} in a patch logit"
        return f"{self.logit:.2g} in a logit{patch}"


def difference(
    expected: float,
    found: float,
    expected_map: npt.NDArray[np.floating] | None = None,
    found_map: npt.NDArray[np.floating] | None = None,
) -> Difference:
    """Compare the evidence of one picture, logits and maps [h, w]."""
    logit = _finite(abs(expected - found))
    scaled = logit / max(1.0, abs(expected))
    if expected_map is None:
        return Difference(logit, None, scaled, None)
    if found_map is None or found_map.shape != expected_map.shape:
        return Difference(logit, math.inf, scaled, math.inf)
    patch = _finite(float(np.abs(expected_map - found_map).max()))
    largest_patch = max(1.0, float(np.abs(expected_map).max()))
    return Difference(logit, patch, scaled, patch / largest_patch)


def largest(found: Sequence[Difference]) -> Difference:
    """The largest of each figure of at least one."""
    patches = [one.patch for one in found if one.patch is not None]
    scaled = [one.patch_scaled for one in found if one.patch_scaled is not None]
    return Difference(
        max(one.logit for one in found),
        max(patches, default=None),
        max(one.logit_scaled for one in found),
        max(scaled, default=None),
    )


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
