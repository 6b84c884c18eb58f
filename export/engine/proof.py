"""Whether an engine says what the model file says: the same frames through both, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.decision.verdict import judge_once
from edge.errors import RegionError
from edge.manifest import Precision
from edge.regions import GRID
from edge.tensorrt.record import Loss, Proof, Shape
from edge.types import Batch, Evidence, Image
from export.auc import compare
from export.differences import BOUNDS, Difference, difference, largest

Infer = Callable[[Batch], list[Evidence]]
"""Scores a batch, uint8 [N, H, W, 3] BGR."""

COUNT = 16
"""Frames of a proof."""

_CELL = 16
_LARGEST = float(np.finfo(np.float64).max)
"""JSON has no infinity: a difference without end is written as the largest number there is."""


def prove(
    infer: Infer,
    model: Path,
    precision: Precision,
    shape: Shape,
    tell: Callable[[str], None] = lambda text: None,
) -> Proof:
    """Compare an engine with ONNX Runtime running the float32 model file on the CPU.

    Frames go through it one by one and in full batches; its precision decides on the bounds.
    ModelError where either side refuses.
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

    Both see the middle of a picture of the folder (`0_real/<source>/…`, `1_fake/<generator>/…`),
    as large as the engine's frames; smaller pictures are left out. SourceError where the folder has
    no such layout, or no picture is large enough; ModelError where either side refuses.
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
    """The middle of a picture, its corner on the grid of JPEG's blocks; RegionError for a picture
    that is smaller.
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


def proof_frames(height: int, width: int) -> Iterator[Image]:
    """`COUNT` frames, uint8 [H, W, 3] BGR: flat, bars, noise, and pictures with the slopes, waves,
    edges, grain and clipped parts of photographs, some of them blurred, blocky or dark.

    The same on every machine, up to a level here and there where its sines differ in their last
    digits; both sides of a proof see the frames of one machine.
    """
    yield np.full((height, width, 3), 118, np.uint8)
    bars = np.where(np.arange(width) // 3 % 2 == 0, np.uint8(235), np.uint8(20))
    yield np.ascontiguousarray(np.broadcast_to(bars[None, :, None], (height, width, 3)))
    yield np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    for seed in range(COUNT - 3):
        scene = _scene(height, width, seed)
        if seed % 3 == 1:  # blurred
            scene = (scene + np.roll(scene, 1, 0)) / 2
            scene = (scene + np.roll(scene, 1, 1)) / 2
        if seed % 3 == 2:  # in flat blocks, as after a bad codec
            rows, columns = (np.arange(side) // _CELL * _CELL for side in (height, width))
            scene = 0.7 * scene[rows][:, columns] + 0.3 * scene
        yield np.ascontiguousarray(scene.clip(0, 255).round().astype(np.uint8))


def _scene(height: int, width: int, seed: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    y, x = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    slope = random.uniform(-0.08, 0.08, 2)
    scene = slope[0] * (x - width / 2) + slope[1] * (y - height / 2) + random.uniform(60, 180, 3)
    for _ in range(4):
        (u, v), phases = random.uniform(-0.4, 0.4, 2), random.uniform(0, 6, 3)
        # sin(ux + vy + φ), the angle taken apart so that no sine is computed for each pixel.
        across, down = u * x + phases, v * y
        wave = np.sin(across) * np.cos(down) + np.cos(across) * np.sin(down)
        scene += random.uniform(2, 25) * wave
    for _ in range(6):
        side = random.uniform(0.04, 0.25) * min(height, width)
        top, left = random.uniform(-side, height), random.uniform(-side, width)
        disc = (y - top - side) ** 2 + (x - left - side) ** 2 < side**2
        scene = np.where(disc, random.uniform(0, 255, 3) + 0.3 * (scene - 128), scene)
    scene += random.uniform(0.5, 6) * random.standard_normal(scene.shape)
    return np.asarray(scene)
