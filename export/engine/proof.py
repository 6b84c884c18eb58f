"""Whether an engine says what the model file says: the same frames through both, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.decision.verdict import judge_once
from edge.manifest import Calibration, Manifest, Precision
from edge.tensorrt.record import Proof, Shape
from edge.types import Batch, Evidence, FloatArray
from export.bounds import BOUNDS
from export.engine.frames import COUNT, proof_frames

Infer = Callable[[Batch], list[Evidence]]
"""Scores a batch, uint8 [N, H, W, 3] BGR."""


@dataclass(frozen=True, slots=True)
class _Row:
    logit: float
    patch: float | None
    logit_scaled: float
    patch_scaled: float | None
    agrees: bool


def prove(
    infer: Infer,
    model: Path,
    precision: Precision,
    shape: Shape,
    tell: Callable[[str], None] = lambda text: None,
) -> Proof:
    """Compare an engine with ONNX Runtime running the model file on the CPU.

    Args:
        infer: the engine.
        model: the model file, of float32.
        precision: of the engine; decides on the bounds.
        shape: of the engine; frames go through it one by one and in full batches.
        tell: told how far it is.

    Raises:
        ModelError: either side refuses.
    """
    rows: list[_Row] = []
    with OnnxRuntimeBackend(model) as reference:
        calibration = reference.manifest.calibration
        for batch in _batches(shape):
            tell(f"comparing with ONNX Runtime, frame {len(rows) + 1} of {COUNT}")
            pairs = zip(reference.infer(batch), infer(batch), strict=True)
            rows += [_compare(expected, found, calibration) for expected, found in pairs]
    return _summary(rows, precision)


def _batches(shape: Shape) -> Iterator[Batch]:
    """Single frames and full batches in turn, so that both kinds of run are proven."""
    frames = list(proof_frames(shape.height, shape.width))
    while frames:
        for size in (1, shape.batch):
            taken, frames = frames[:size], frames[size:]
            if taken:
                yield np.stack(taken)


def _compare(expected: Evidence, found: Evidence, calibration: Calibration) -> _Row:
    logit = _difference(expected.logit, found.logit)
    patch, patch_scaled = _map_difference(expected.patch_logits, found.patch_logits)
    states = [judge_once(calibration, item.logit).state for item in (expected, found)]
    return _Row(
        logit,
        patch,
        logit / max(1.0, abs(expected.logit)),
        patch_scaled,
        states[0] == states[1],
    )


def _difference(expected: float, found: float) -> float:
    difference = abs(expected - found)
    return difference if math.isfinite(difference) else math.inf


def _map_difference(
    expected: FloatArray | None, found: FloatArray | None
) -> tuple[float | None, float | None]:
    if expected is None:
        return None, None
    if found is None or found.shape != expected.shape:
        return math.inf, math.inf
    largest = float(np.abs(expected - found).max())
    largest = largest if math.isfinite(largest) else math.inf
    return largest, largest / max(1.0, float(np.abs(expected).max()))


def _summary(rows: Sequence[_Row], precision: Precision) -> Proof:
    patches = [row.patch for row in rows if row.patch is not None]
    scaled = [row.patch_scaled for row in rows if row.patch_scaled is not None]
    return Proof(
        frames=len(rows),
        max_logit=_finite(max(row.logit for row in rows)),
        max_patch=_finite(max(patches)) if patches else None,
        logit_scaled=_finite(max(row.logit_scaled for row in rows)),
        patch_scaled=_finite(max(scaled)) if scaled else None,
        agreement=sum(row.agrees for row in rows) / len(rows),
        logit_bound=BOUNDS[precision],
        patch_bound=BOUNDS[precision],
    )


def _finite(value: float) -> float:
    """JSON has no infinity: a difference without end is written as the largest number there is."""
    return min(value, float(np.finfo(np.float64).max))


def read_manifest(model: Path) -> Manifest:
    """What a model file says of itself.

    Raises:
        ModelError: it cannot be used.
    """
    with OnnxRuntimeBackend(model, threads=1) as reader:
        return reader.manifest
