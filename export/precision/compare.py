"""How far a file of another precision is from the float32 one, and whether that is near enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto
from rich.table import Table

from edge.decision.verdict import judge_once
from edge.errors import ModelError, RegionError
from edge.manifest import Precision
from edge.regions import parse_region
from edge.types import Batch, Image
from export import parity
from export.differences import BOUNDS, Difference, difference, largest
from export.graph import INPUT, LOGIT, PATCH_LOGITS, Shape, manifest_in
from export.precision.half import rounding_in_float
from export.precision.pictures import crops, fixed_shape
from export.session import Session

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured on pictures of one kind.

    Attributes:
        precision: of the file.
        where: the pictures, in words.
        difference: the largest.
        same: pictures with the same verdict.
        pictures: how many.
    """

    precision: Precision
    where: str
    difference: Difference
    same: int
    pictures: int

    @property
    def ok(self) -> bool:
        """Whether the difference lies within the bound."""
        return self.difference.scaled <= BOUNDS[self.precision]


class Judge:
    """A model file that judges, node by node and in the types that it is written in.

    ONNX Runtime would otherwise compute half precision in float32, and fuse int8 as suits the CPU.

    Args:
        model: a linted file of any precision.

    Raises:
        ModelError: ONNX Runtime refuses it.
    """

    def __init__(self, model: ModelProto) -> None:
        self.manifest = manifest_in(model, "the model")
        self.fixed = fixed_shape(model.graph)
        self._region = parse_region(self.manifest.region)
        self._outputs = [value.name for value in model.graph.output]
        half = self.manifest.precision == "fp16"
        if half:
            Session(model.SerializeToString())  # the file itself must load too
        shown = rounding_in_float(model) if half else model
        self._session = Session(shown.SerializeToString(), as_written=True)

    @property
    def smallest_input(self) -> int:
        """Height and width in pixels of the smallest picture that it takes."""
        return self.manifest.patches.smallest_input() if self.manifest.patches else 1

    def evidence(self, frames: Batch) -> tuple[Array, Array | None]:
        """Logits float64 [N], and patch logits float64 [N, h, w] where the model has a map.

        Raises:
            ModelError: ONNX Runtime refuses frames of this shape.
        """
        found = self._session.run(self._outputs, {INPUT: frames})
        named = {
            name: value.astype(np.float64) for name, value in zip(self._outputs, found, strict=True)
        }
        return named[LOGIT], named.get(PATCH_LOGITS)

    def __call__(self, image: Image) -> float:
        """The logit of a picture, uint8 [H, W, 3] BGR: the mean over its region's crops.

        Raises:
            RegionError: it is smaller than one patch.
        """
        seen = crops(image, self._region, self.fixed)
        least = self.smallest_input
        if min(seen[0].shape[1:3]) < least:
            raise RegionError(f"{self.manifest.name} needs at least {least}×{least} pixels.")
        return math.fsum(float(self.evidence(crop)[0][0]) for crop in seen) / len(seen)


def measure(
    reference: Judge,
    candidate: Judge,
    pictures: Sequence[Batch],
    tell: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Compare two files of one model on made-up pictures of many shapes, and on real ones.

    Args:
        reference: the float32 file.
        candidate: the other.
        pictures: real ones, each uint8 [N, H, W, 3] BGR; may be none.
        tell: called with what comes next.

    Returns:
        A row for each shape, and one for all real pictures.
    """
    shapes: Sequence[Shape] = parity.shapes_from(reference.smallest_input)
    if reference.fixed is not None:
        shapes = (reference.fixed,)
    rows = []
    for shape in shapes:
        tell(f"comparing at {parity.describe(shape)}")
        rows.append(_row(reference, candidate, [parity.textured(shape)], parity.describe(shape)))
    if pictures:
        tell(f"comparing on {len(pictures)} pictures")
        rows.append(_row(reference, candidate, pictures, f"{len(pictures)} pictures"))
    return rows


def require(rows: Sequence[Row]) -> None:
    """Refuse rows past the bound.

    Raises:
        ModelError: names the first of them.
    """
    for row in rows:
        if not row.ok:
            raise ModelError(
                f"{row.precision} differs from the float32 file on {row.where}: by "
                f"{row.difference}, where {BOUNDS[row.precision]:g} is allowed (relative above 1). "
                "Nothing was written."
            )


def table(rows: Sequence[Row]) -> Table:
    """A row each: the differences, the larger of them as it is judged, and the verdicts."""
    out = Table("precision", "pictures", "Δ logit", "Δ patch", "scaled", "same verdict", "verdict")
    bounds = ", ".join(f"{name} {bound:g}" for name, bound in BOUNDS.items() if name != "fp32")
    out.caption = f"largest differences from fp32; bounds on the scaled one: {bounds}"
    for row in rows:
        same, verdict = f"{row.same} of {row.pictures}", "ok" if row.ok else "too far"
        out.add_row(row.precision, row.where, *row.difference.cells(), same, verdict)
    return out


def _row(reference: Judge, candidate: Judge, batches: Sequence[Batch], where: str) -> Row:
    calibration = reference.manifest.calibration
    found = [pair for frames in batches for pair in _compared(reference, candidate, frames)]
    same = [
        judge_once(calibration, a).state == judge_once(calibration, b).state for a, b, _ in found
    ]
    worst = largest([difference for _, _, difference in found])
    return Row(candidate.manifest.precision, where, worst, sum(same), len(found))


def _compared(
    reference: Judge, candidate: Judge, frames: Batch
) -> Iterator[tuple[float, float, Difference]]:
    (logits, maps), (others, other_maps) = reference.evidence(frames), candidate.evidence(frames)
    for index, (a, b) in enumerate(zip(logits.tolist(), others.tolist(), strict=True)):
        pair = [None if each is None else each[index] for each in (maps, other_maps)]
        yield a, b, difference(a, b, *pair)
