"""How far one form of a model is from another on the same pictures, and whether that will do.

A model file is compared with the checkpoint that it was made from, and a file of another precision
with the float32 file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto
from rich.table import Table

from edge.decision.verdict import judge_once
from edge.differences import BOUNDS, Difference, difference, largest
from edge.errors import ModelError, RegionError
from edge.manifest import Calibration
from edge.regions import parse_region
from edge.types import Batch, Image
from export.graph import INPUT, LOGIT, PATCH_LOGITS, Shape, manifest_in
from export.precision.half import rounding_in_float
from export.precision.parts import constants
from export.precision.pictures import crops, fixed_shape

Array = npt.NDArray[np.float64]


class Form(Protocol):
    """A model that can be compared: it gives logits float64 [N], and patch logits float64 [N, h, w]
    where it has a map.
    """

    name: str

    def evidence(self, frames: Batch) -> tuple[Array, Array | None]: ...


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured on pictures of one kind: the largest difference, the bound on the scaled
    one, and how many of the pictures have the same verdict. `names` are of what is compared, and
    of what with.
    """

    names: tuple[str, str]
    where: str
    difference: Difference
    bound: float
    same: int
    pictures: int

    @property
    def ok(self) -> bool:
        return self.difference.scaled <= self.bound


class Session:
    """Runs a model file's bytes, and `as_written` each node by itself in the types that the file
    has. Nothing to close; ModelError where ONNX Runtime refuses the graph or an input.
    """

    def __init__(self, data: bytes, as_written: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # what it warns of is no news to the person who exports
        if as_written:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        cpu = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=cpu)
        except Exception as error:  # its errors share no base but this
            raise ModelError(f"ONNX Runtime refuses the model file: {error}") from error

    def run(
        self, outputs: Sequence[str], inputs: Mapping[str, Batch]
    ) -> list[npt.NDArray[np.float32]]:
        """The named outputs."""
        try:
            return list(self._session.run(list(outputs), dict(inputs)))
        except Exception as error:  # its errors share no base but this
            shapes = ", ".join(str(array.shape) for array in inputs.values())
            raise ModelError(f"ONNX Runtime refuses {shapes}: {error}") from error


class Judge:
    """A model file that judges, node by node and in the types that it is written in.

    ONNX Runtime would otherwise compute half precision in float32, and fuse int8 as suits the CPU.
    The file is linted, of any precision; raises ModelError where ONNX Runtime refuses it.
    """

    def __init__(self, model: ModelProto) -> None:
        self.manifest = manifest_in(model, "the model")
        self.fixed = fixed_shape(model.graph)
        precision = self.manifest.precision
        self.name: str = "the float32 file" if precision == "fp32" else precision
        self.bound = BOUNDS[precision]
        patches = self.manifest.patches
        self._smallest = patches.smallest_input() if patches else 1
        self._region = parse_region(self.manifest.region)
        self._outputs = [value.name for value in model.graph.output]
        if any(t.data_type == TensorProto.FLOAT16 for t in constants(model.graph).values()):
            Session(model.SerializeToString())  # the file itself must load too
            model = rounding_in_float(model)
        self._session = Session(model.SerializeToString(), as_written=True)

    def evidence(self, frames: Batch) -> tuple[Array, Array | None]:
        return run(self._session, self._outputs, frames)

    def shapes(self) -> Sequence[Shape]:
        return (self.fixed,) if self.fixed else shapes_from(self._smallest)

    def __call__(self, image: Image) -> float:
        """A picture, uint8 [H, W, 3] BGR → its logit, the mean over its region's crops; RegionError
        for one smaller than a patch.
        """
        seen = crops(image, self._region, self.fixed)
        least = self._smallest
        if min(seen[0].shape[1:3]) < least:
            raise RegionError(f"{self.manifest.name} needs at least {least}×{least} pixels.")
        return math.fsum(float(self.evidence(crop)[0][0]) for crop in seen) / len(seen)


def run(session: Session, outputs: Sequence[str], frames: Batch) -> tuple[Array, Array | None]:
    """The evidence that a graph gives, in float64; ModelError where it refuses frames so shaped."""
    found = session.run(outputs, {INPUT: frames})
    named = dict(zip(outputs, (value.astype(np.float64) for value in found), strict=True))
    return named[LOGIT], named.get(PATCH_LOGITS)


def shapes_from(least: int) -> tuple[Shape, ...]:
    """Square, odd, tiny (from `least` pixels), wide, a batch, and a native 1080p frame."""
    return (
        (1, 256, 256),
        (1, 255, 257),
        (1, least, least),
        (1, least + 1, least + 2),
        (1, 180, 320),
        (2, 129, 96),
        (1, 1080, 1920),
    )


def measure(
    reference: Form,
    candidate: Form,
    batches: Sequence[Batch],
    where: str,
    bound: float,
    calibration: Calibration | None = None,
) -> Row:
    """Compare two forms on the same pictures, each uint8 [N, H, W, 3] BGR; at least one.

    `bound` is on the scaled difference; the calibration's threshold (the plain one if None) divides
    the verdicts.
    """
    found = [pair for frames in batches for pair in _compared(reference, candidate, frames)]
    verdicts = [
        [judge_once(calibration or Calibration(), logit).state for logit in pair[:2]]
        for pair in found
    ]
    worst = largest([each for _, _, each in found])
    same = sum(a == b for a, b in verdicts)
    return Row((candidate.name, reference.name), where, worst, bound, same, len(found))


def compare_files(
    reference: Judge,
    candidate: Judge,
    pictures: Sequence[Batch],
    tell: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Compare a file with the float32 one on made-up pictures of many shapes, a row for each, and
    on real ones (each uint8 [N, H, W, 3] BGR; may be none), one row for all.
    """
    sets = [(describe(shape), [textured(shape)]) for shape in reference.shapes()]
    if pictures:
        sets.append((f"{len(pictures)} pictures", list(pictures)))
    rows = []
    for where, batches in sets:
        tell(f"comparing on {where}")
        calibration = reference.manifest.calibration
        rows.append(measure(reference, candidate, batches, where, candidate.bound, calibration))
    return rows


def require(rows: Sequence[Row]) -> None:
    """Raise ModelError for the first row past the bound."""
    for row in rows:
        if not row.ok:
            raise ModelError(
                f"{row.names[0]} differs from {row.names[1]} on {row.where}: by {row.difference}, "
                f"where {row.bound:g} is allowed (relative above 1). Nothing was written."
            )


def table(rows: Sequence[Row]) -> Table:
    """A row each: the differences, the larger of them as it is judged, and the verdicts."""
    out = Table("what", "pictures", "Δ logit", "Δ patch", "scaled", "same verdict", "verdict")
    out.caption = (
        f"largest differences from {rows[0].names[1]}; bound {rows[0].bound:g} on the scaled one: "
        "absolute to 1, relative above"
    )
    for row in rows:
        found, same = row.difference, f"{row.same} of {row.pictures}"
        patch = "–" if found.patch is None else f"{found.patch:.1e}"
        figures = f"{found.logit:.1e}", patch, f"{found.scaled:.1e}", same
        out.add_row(row.names[0], row.where, *figures, "ok" if row.ok else "too far")
    return out


def describe(shape: Shape) -> str:
    """A shape as people read it, for instance 2 × 129×96."""
    pictures, height, width = shape
    size = f"{height}×{width}"
    return size if pictures == 1 else f"{pictures} × {size}"


def textured(shape: Shape) -> Batch:
    """Pictures with slopes, waves, edges, grain and clipped parts; uint8 [N, H, W, 3] BGR."""
    pictures, height, width = shape
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    colour = np.arange(3)
    waves = 70 * np.sin(0.021 * x + colour) + 50 * np.cos(0.037 * y * (colour + 1) / 2)
    edges = 40 * np.sign(np.sin(0.13 * x + 0.09 * y))
    grain = np.random.default_rng(0).normal(0, 9, (pictures, height, width, 3))
    values = 120 + 0.05 * (x - y) + waves + edges + grain
    frames: Batch = values.clip(0, 255).astype(np.uint8)
    return frames


def _compared(
    reference: Form, candidate: Form, frames: Batch
) -> Iterator[tuple[float, float, Difference]]:
    (logits, maps), (others, other_maps) = reference.evidence(frames), candidate.evidence(frames)
    for index, (a, b) in enumerate(zip(logits.tolist(), others.tolist(), strict=True)):
        pair = [None if each is None else each[index] for each in (maps, other_maps)]
        yield a, b, difference(a, b, *pair)
