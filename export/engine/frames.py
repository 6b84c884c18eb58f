"""The fixed frames that engines are proven on: the same pictures on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge.types import Image

COUNT = 16
"""Frames of a proof."""

_CELL = 16

Floats = npt.NDArray[np.float32]
FloatsX = npt.NDArray[np.float64]


def proof_frames(height: int, width: int) -> Iterator[Image]:
    """`COUNT` frames, uint8 [H, W, 3] BGR: flat, bars, noise, and pictures with the slopes, waves,
    edges, grain and clipped parts of photographs, some of them blurred, blocky or dark.

    The same on every machine, up to a level here and there where its sines differ in their last
    digits; both sides of a proof see the frames of one machine.
    """
    yield np.full((height, width, 3), 118, np.uint8)
    yield _bars(height, width)
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    yield noise
    for seed in range(COUNT - 3):
        picture = _scene(height, width, seed)
        yield _finish(picture, seed)


def _bars(height: int, width: int) -> Image:
    on = (np.arange(width) // 3) % 2 == 0
    frame: Image = np.where(on[None, :, None], np.uint8(235), np.uint8(20))
    return np.ascontiguousarray(np.broadcast_to(frame, (height, width, 3)))


def _scene(height: int, width: int, seed: int) -> Floats:
    random = np.random.default_rng(seed)
    y, x = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    slope = random.uniform(-0.08, 0.08, 2)
    plane = slope[0] * (x - width / 2) + slope[1] * (y - height / 2)[:, None]
    scene = np.empty((height, width, 3), np.float32)
    scene[:] = plane[..., None] + random.uniform(60, 180, 3)
    for _ in range(4):
        scene += _wave(random, x, y)
    for _ in range(6):
        _add_disc(scene, random)
    grain = random.uniform(0.5, 6)
    scene += np.float32(grain) * random.standard_normal(scene.shape, np.float32)
    return scene


def _wave(random: np.random.Generator, x: FloatsX, y: FloatsX) -> Floats:
    """A·sin(ux + vy + φ), the angle taken apart so that no sine is had for each pixel."""
    (u, v), phases = random.uniform(-0.4, 0.4, 2), random.uniform(0, 6, 3)
    along, across = u * x[:, None] + phases, v * y
    wave = np.sin(along)[None] * np.cos(across)[:, None, None]
    wave += np.cos(along)[None] * np.sin(across)[:, None, None]
    scaled: Floats = (random.uniform(2, 25) * wave).astype(np.float32)
    return scaled


def _add_disc(scene: Floats, random: np.random.Generator) -> None:
    height, width = scene.shape[:2]
    radius = random.uniform(0.04, 0.25) * min(height, width)
    top, left = random.uniform(0, height) - radius, random.uniform(0, width) - radius
    rows, columns = (slice(max(0, int(at)), int(at + 2 * radius) + 1) for at in (top, left))
    part = scene[rows, columns]
    y = np.arange(part.shape[0]) + rows.start - top - radius
    x = np.arange(part.shape[1]) + columns.start - left - radius
    inside = x**2 + y[:, None] ** 2 < radius**2
    colour = random.uniform(0, 255, 3).astype(np.float32)
    part[inside] = colour + np.float32(0.3) * (part[inside] - 128)


def _finish(scene: Floats, seed: int) -> Image:
    """A third as they are, a third blurred, a third in flat blocks as after a bad codec."""
    if seed % 3 == 1:
        scene = np.float32(0.5) * (scene + np.roll(scene, 1, 0))
        scene = np.float32(0.5) * (scene + np.roll(scene, 1, 1))
    if seed % 3 == 2:
        scene = _blocky(scene)
    return np.ascontiguousarray(scene.clip(0, 255).round().astype(np.uint8))


def _blocky(scene: Floats) -> Floats:
    height, width = scene.shape[:2]
    rows, columns = np.arange(height) // _CELL * _CELL, np.arange(width) // _CELL * _CELL
    return 0.7 * scene[rows][:, columns] + 0.3 * scene
