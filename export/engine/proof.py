"""Whether an engine says what the model file says: the same frames through both, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.decision.verdict import judge_once
from edge.errors import RegionError
from edge.manifest import Precision
from edge.regions import GRID
from edge.tensorrt.record import Loss, Proof, Shape
from edge.types import Batch, Evidence, Image
from export.auc import compare
from export.differences import BOUNDS, Difference, difference, largest
from export.engine.frames import COUNT, proof_frames

Infer = Callable[[Batch], list[Evidence]]
"""Scores a batch, uint8 [N, H, W, 3] BGR."""

_LARGEST = float(np.finfo(np.float64).max)
"""JSON has no infinity: a difference without end is written as the largest number there is."""


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
        tell: called with how far it is.

    Raises:
        ModelError: either side refuses.
    """
    found: list[Difference] = []
    agree = 0
    with OnnxRuntimeBackend(model) as reference:
        calibration = reference.manifest.calibration
        for batch in _batches(shape):
            tell(f"comparing with ONNX Runtime, frame {len(found) + 1} of {COUNT}")
            for a, b in zip(reference.infer(batch), infer(batch), strict=True):
                found.append(difference(a.logit, b.logit, a.patch_logits, b.patch_logits))
                states = [judge_once(calibration, one.logit).state for one in (a, b)]
                agree += states[0] == states[1]
    worst = largest(found)
    return Proof(
        frames=len(found),
        max_logit=min(worst.logit, _LARGEST),
        max_patch=None if worst.patch is None else min(worst.patch, _LARGEST),
        logit_scaled=min(worst.logit_scaled, _LARGEST),
        patch_scaled=None if worst.patch_scaled is None else min(worst.patch_scaled, _LARGEST),
        agreement=agree / len(found),
        logit_bound=BOUNDS[precision],
        patch_bound=BOUNDS[precision],
    )


def _batches(shape: Shape) -> Iterator[Batch]:
    """Single frames and full batches in turn, so that both kinds of run are proven."""
    frames = list(proof_frames(shape.height, shape.width))
    while frames:
        for size in (1, shape.batch):
            taken, frames = frames[:size], frames[size:]
            if taken:
                yield np.stack(taken)


def measure_loss(
    folder: Path,
    model: Path,
    infer: Infer,
    shape: Shape,
    tell: Callable[[str], None] = lambda text: None,
) -> Loss:
    """Judge labelled pictures by an engine and by ONNX Runtime running the model file.

    Both see the middle of a picture, as large as the engine's frames; smaller pictures are left
    out.

    Args:
        folder: `0_real/<source>/…` and `1_fake/<generator>/…`.
        model: the model file, of float32.
        infer: the engine.
        shape: of the engine's frames.
        tell: called with how far it is.

    Raises:
        SourceError: the folder has no such layout, or no picture is large enough.
        ModelError: either side refuses.
    """

    def judged(side: Infer, image: Image) -> float:
        return side(middle(image, shape)[None])[0].logit

    with OnnxRuntimeBackend(model) as reference:
        found = compare(
            folder,
            lambda image: judged(reference.infer, image),
            lambda image: judged(infer, image),
            reference.manifest.calibration,
            lambda done, total: tell(f"labelled pictures, {done} of {total}"),
        )
    return Loss(
        data=str(folder),
        reference_auc=found.reference_auc,
        engine_auc=found.candidate_auc,
        pictures=found.pictures,
        agreement=found.agreement,
    )


def middle(image: Image, shape: Shape) -> Image:
    """The middle of a picture; its corner lies on the grid of JPEG's blocks.

    Raises:
        RegionError: the picture is smaller.
    """
    height, width = image.shape[:2]
    if height < shape.height or width < shape.width:
        raise RegionError(
            f"a picture of {height}×{width} pixels is smaller than the engine's frames of "
            f"{shape.height}×{shape.width}; build for smaller frames: --static."
        )
    top = (height - shape.height) // 2 // GRID * GRID
    left = (width - shape.width) // 2 // GRID * GRID
    return np.ascontiguousarray(image[top : top + shape.height, left : left + shape.width])
