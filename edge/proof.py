"""Whether another way to run a model says what ONNX Runtime says: the same frames through both."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.backends.onnxruntime import OnnxRuntimeBackend
from edge.decision.verdict import judge_once
from edge.differences import ENGINE_BOUNDS, difference, largest
from edge.manifest import Precision
from edge.tensorrt.record import Proof, Shape
from edge.types import Batch, Evidence, Image

Infer = Callable[[Batch], list[Evidence]]
"""Scores a batch, uint8 [N, H, W, 3] BGR."""

COUNT = 16
"""Frames of a proof."""

LEAST = 6
"""Of them, those that are compared however long it takes: flat, bars, noise and three scenes."""

_DRAWN = 3
"""Frames before the scenes: what moves the logits of pictures does not show in them."""

MOST_SHIFT = 0.1
"""Largest mean difference of a logit that is taken off."""

_CELL = 16
_LARGEST = float(np.finfo(np.float64).max)
"""JSON has no infinity: a difference without end is written as the largest number there is."""


def prove(
    infer: Infer,
    model: Path,
    precision: Precision,
    shape: Shape,
    tell: Callable[[str], None] = lambda text: None,
    longest_s: float = math.inf,
    centred: bool = False,
) -> Proof:
    """Compare another way to run a model with ONNX Runtime running its float32 file on the CPU.

    Frames go through it one by one and in full batches; its precision decides on the bounds. After
    that many seconds no more than `LEAST` frames are compared. ModelError where a side refuses.

    Rounding moves the logits of most pictures the same way. If `centred`, the median of that is the
    proof's `shift`, for the caller to take off, and the differences are what is left.
    """
    pairs: list[tuple[Evidence, Evidence]] = []
    until = time.monotonic() + longest_s
    with OnnxRuntimeBackend(model) as reference:
        calibration = reference.manifest.calibration
        for batch in _batches(shape):
            if len(pairs) >= LEAST and time.monotonic() > until:
                break
            tell(f"comparing with ONNX Runtime, frame {len(pairs) + 1} of {COUNT}")
            pairs += zip(reference.infer(batch), infer(batch), strict=True)
    middle = float(np.median([b.logit - a.logit for a, b in pairs[_DRAWN:]])) if centred else 0.0
    shift = min(max(middle, -MOST_SHIFT), MOST_SHIFT) if math.isfinite(middle) else 0.0
    pairs = [(a, shifted(b, shift)) for a, b in pairs]
    found = [difference(a.logit, b.logit, a.patch_logits, b.patch_logits) for a, b in pairs]
    states = [[judge_once(calibration, one.logit).state for one in pair] for pair in pairs]
    worst = largest(found)
    return Proof(
        frames=len(found),
        max_logit=min(worst.logit, _LARGEST),
        max_patch=None if worst.patch is None else min(worst.patch, _LARGEST),
        logit_scaled=min(worst.logit_scaled, _LARGEST),
        patch_scaled=None if worst.patch_scaled is None else min(worst.patch_scaled, _LARGEST),
        mean_logit=min(sum(one.logit for one in found) / len(found), _LARGEST),
        agreement=sum(a == b for a, b in states) / len(states),
        logit_bound=ENGINE_BOUNDS[precision],
        patch_bound=ENGINE_BOUNDS[precision],
        shift=shift,
    )


def shifted(evidence: Evidence, shift: float) -> Evidence:
    """Evidence with that taken off its logit and off each of its patches, whose mean that is."""
    patches = evidence.patch_logits
    return Evidence(
        evidence.logit - shift, None if patches is None else patches - np.float32(shift)
    )


def _batches(shape: Shape) -> Iterator[Batch]:
    """Single frames and full batches in turn, so that both kinds of run are proven."""
    frames = list(proof_frames(shape.height, shape.width))
    while frames:
        for size in (1, shape.batch):
            taken, frames = frames[:size], frames[size:]
            if taken:
                yield np.stack(taken)


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
    for seed in range(COUNT - _DRAWN):
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
