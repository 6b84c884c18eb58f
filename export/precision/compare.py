"""How far a file of another precision is from the float32 one, and whether that is near enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto
from rich.table import Table

from edge.decision.verdict import judge_once
from edge.errors import ModelError, RegionError
from edge.manifest import Calibration, Precision
from edge.regions import parse_region
from edge.types import Batch, Image
from export import parity
from export.bounds import BOUNDS
from export.graph import INPUT, LOGIT, PATCH_LOGITS, Shape, manifest_in
from export.precision.half import rounding_in_float
from export.precision.pictures import crops, fixed_shape
from export.precision.session import Session

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured on pictures of one kind.

    Attributes:
        precision: of the file.
        where: the pictures, in words.
        logit: largest difference of a logit.
        patch: largest difference of a patch logit; 0 without patches.
        logit_scaled: the largest of a logit over max(1, |logit|).
        patch_scaled: that of a patch logit over max(1, largest |patch logit| of its map).
        same: pictures with the same verdict.
        pictures: how many.
    """

    precision: Precision
    where: str
    logit: float
    patch: float
    logit_scaled: float
    patch_scaled: float
    same: int
    pictures: int

    @property
    def ok(self) -> bool:
        """Whether both scaled differences lie within the bound; NaN does not."""
        bound = BOUNDS[self.precision]
        return self.logit_scaled <= bound and self.patch_scaled <= bound


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

    def evidence(self, frames: Batch) -> tuple[Array, Array | None]:
        """Logits float64 [N], and patch logits float64 [N, h, w] where the model has some.

        Raises:
            ModelError: ONNX Runtime refuses frames of this shape.
        """
        found = self._session.run(self._outputs, {INPUT: frames})
        named = dict(zip(self._outputs, found, strict=True))
        patches = named.get(PATCH_LOGITS)
        return (
            named[LOGIT].astype(np.float64),
            None if patches is None else patches.astype(np.float64),
        )

    def __call__(self, image: Image) -> float:
        """The logit of a picture, uint8 [H, W, 3] BGR: the mean over its region's crops.

        Raises:
            RegionError: it is smaller than one patch.
        """
        seen = crops(image, self._region, self.fixed)
        self._refuse_tiny(seen[0])
        return math.fsum(float(self.evidence(crop)[0][0]) for crop in seen) / len(seen)

    def _refuse_tiny(self, crop: Batch) -> None:
        patches = self.manifest.patches
        least = patches.smallest_input() if patches else 1
        if min(crop.shape[1:3]) < least:
            raise RegionError(f"{self.manifest.name} needs at least {least}×{least} pixels.")


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
        tell: told what comes next.

    Returns:
        A row for each shape, and one for all real pictures.
    """
    rows = []
    for shape in _shapes(reference):
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
                f"{row.logit:.2g} in a logit and {row.patch:.2g} in a patch, where "
                f"{BOUNDS[row.precision]:g} is allowed (relative above 1). Nothing was written."
            )


def table(rows: Sequence[Row]) -> Table:
    """A row each: the differences, the larger of them as it is judged, and the verdicts."""
    out = Table("precision", "pictures", "Δ logit", "Δ patch", "scaled", "same verdict", "verdict")
    bounds = ", ".join(f"{name} {bound:g}" for name, bound in BOUNDS.items() if name != "fp32")
    out.caption = f"largest differences from fp32; bounds on the scaled one: {bounds}"
    for row in rows:
        figures = (row.logit, row.patch, max(row.logit_scaled, row.patch_scaled))
        same, verdict = f"{row.same} of {row.pictures}", "ok" if row.ok else "too far"
        out.add_row(row.precision, row.where, *(f"{x:.1e}" for x in figures), same, verdict)
    return out


def _shapes(judge: Judge) -> tuple[Shape, ...]:
    if judge.fixed is not None:
        return (judge.fixed,)
    patches = judge.manifest.patches
    return parity.shapes_from(patches.smallest_input() if patches else 1)


@dataclass(frozen=True, slots=True)
class _Difference:
    """Of one picture: as in a `Row`, and both logits."""

    logit: float
    patch: float
    logit_scaled: float
    patch_scaled: float
    logits: tuple[float, float]


def _row(reference: Judge, candidate: Judge, batches: Sequence[Batch], where: str) -> Row:
    calibration = reference.manifest.calibration
    found = [d for frames in batches for d in _differences(reference, candidate, frames)]
    return Row(
        candidate.manifest.precision,
        where,
        _largest(d.logit for d in found),
        _largest(d.patch for d in found),
        _largest(d.logit_scaled for d in found),
        _largest(d.patch_scaled for d in found),
        sum(_same(calibration, *d.logits) for d in found),
        len(found),
    )


def _differences(reference: Judge, candidate: Judge, frames: Batch) -> Iterator[_Difference]:
    (logits, maps), (others, other_maps) = reference.evidence(frames), candidate.evidence(frames)
    if maps is None or other_maps is None:
        maps = other_maps = np.zeros((len(logits), 1, 1))
    for a, b, ours, theirs in zip(logits.tolist(), others.tolist(), maps, other_maps, strict=True):
        patch = float(np.abs(ours - theirs).max())
        largest = max(1.0, float(np.abs(ours).max()))
        scaled = abs(a - b) / max(1.0, abs(a))
        yield _Difference(abs(a - b), patch, scaled, patch / largest, (a, b))


def _largest(values: Iterable[float]) -> float:
    """The largest, or NaN where one is."""
    return float(np.max([*values]))


def _same(calibration: Calibration, a: float, b: float) -> bool:
    return judge_once(calibration, a).state == judge_once(calibration, b).state
