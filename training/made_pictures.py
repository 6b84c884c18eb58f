"""Labelled pictures made from nothing, in seconds: textures like photographs, and decoders' fakes.

For trying a whole training out. What a model learns from them is worth nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from edge.errors import SinkError
from edge.types import Image
from training.data.folders import LABEL_FOLDERS

Plane = npt.NDArray[np.float32]
_OCTAVES = (2.0, 6.0, 20.0)
_EDGES = 6


def textured(rng: np.random.Generator, side: int) -> Image:
    """Noise smoothed to several scales, with straight edges and a sensor's grain.

    Returns:
        uint8 [side, side, 3] BGR.
    """
    image = np.zeros((side, side, 3), np.float32)
    for sigma in _OCTAVES:
        noise = rng.standard_normal((side, side, 3), dtype=np.float32)
        image += cv2.GaussianBlur(noise, (0, 0), sigma) * sigma * rng.uniform(15, 40)
    places = np.indices((side, side)).transpose(1, 2, 0) - rng.uniform(0, side, 2)
    for _ in range(_EDGES):
        angle = rng.uniform(0, np.pi)
        beyond = places @ (np.cos(angle), np.sin(angle)) > rng.uniform(-side, side) / 2
        image += np.where(beyond[..., None], rng.uniform(-45, 45, 3), 0)
    image += 128 + rng.normal(0, 2, image.shape)
    return _rounded(image)


def grainy(rng: np.random.Generator, side: int) -> Image:
    """As `textured`, softened and with coarser grain: another camera."""
    soft = cv2.GaussianBlur(textured(rng, side), (0, 0), 0.7).astype(np.float32)
    return _rounded(soft + rng.normal(0, 4, soft.shape))


def nearest_decoder(image: Image) -> Image:
    """Halve by 2×2 means, double by repetition, and convolve with a fixed 3×3 filter."""
    half = _halved(image)
    double = half.repeat(2, axis=0).repeat(2, axis=1)
    filter_ = np.array([[0, -0.1, 0], [-0.1, 1.4, -0.1], [0, -0.1, 0]], np.float32)
    return _rounded(cv2.filter2D(double, -1, filter_))


def transposed_decoder(image: Image) -> Image:
    """Halve by 2×2 means, and double by a transposed convolution of 3×3 with stride 2.

    Its four phases have unequal weights, so that it leaves a chequerboard: Odena et al.,
    Deconvolution and Checkerboard Artifacts, 2016.
    """
    half = _halved(image)
    height, width = half.shape[:2]
    spaced = np.zeros((2 * height, 2 * width, 3), np.float32)
    spaced[::2, ::2] = half
    taps = np.array([0.53, 0.96, 0.53], np.float32)  # linear interpolation has 0.5, 1, 0.5
    return _rounded(cv2.sepFilter2D(spaced, -1, taps, taps))


CAMERAS: MappingProxyType[str, Callable[[np.random.Generator, int], Image]] = MappingProxyType(
    {"textured": textured, "grainy": grainy}
)
GENERATORS: MappingProxyType[str, Callable[[Image], Image]] = MappingProxyType(
    {"nearest": nearest_decoder, "transposed": transposed_decoder}
)


def write_split(split: Path, per_camera: int, side: int, seed: int) -> None:
    """Write SPLIT/0_real/CAMERA/N.png, `side` pixels high and wide, and each through each
    generator.

    Raises:
        SinkError: the folder cannot be written to.
    """
    rng = np.random.default_rng(seed)
    real, fake = (split / name for name in LABEL_FOLDERS)
    try:
        for camera, take in CAMERAS.items():
            for index in range(per_camera):
                image = take(rng, side)
                _write(real / camera / f"{index}.png", image)
                for generator, decode in GENERATORS.items():
                    _write(fake / generator / f"{camera}-{index}.png", decode(image))
    except OSError as error:
        raise SinkError(f"{split} cannot be written: {error.strerror or error}.") from error


def _write(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(path)


def _halved(image: Image) -> Plane:
    height, width, channels = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2, channels)
    half: Plane = blocks.mean(axis=(1, 3), dtype=np.float32)
    return half


def _rounded(levels: npt.ArrayLike) -> Image:
    whole: Image = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return whole
