"""How far a file or an engine of a precision may be from the float32 model file."""

from __future__ import annotations

from collections.abc import Mapping

from edge.manifest import Precision

BOUNDS: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 0.25, "int8": 5.0}
"""Largest difference of a logit, and of a patch logit in its map: absolute up to 1, relative above.

For float32 ten times what another order of the sums makes. For the others more than twice what the
shipped files differ by at most, 0.11 and 2.4, on 376 pictures and their degradations
(docs/precision.md). For int8 this only tells what is broken from what is sound: what int8 costs is
a matter of AUC, and measured on labelled pictures."""
