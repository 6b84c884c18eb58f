"""The fixed frames that engines are proven on: the same pictures on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge.types import Image

COUNT = 16
"""Frames of a proof."""

_CELL = 16


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
