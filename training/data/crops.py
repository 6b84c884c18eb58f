"""Training samples: crops drawn evenly over classes and sources, each degraded at random."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.sources.images import read_image
from edge.types import Batch, FloatArray, Image
from training.data.degradations import first_jpeg, random_jpeg
from training.data.folders import LABEL_FOLDERS, Picture
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

_LOSSY_FILES = frozenset({".jpg", ".jpeg"})


Sample = tuple[Image, int]
"""A crop and its label."""


class BalancedCrops(Dataset[Sample]):
    """A fixed, reproducible sequence of samples.

    Sample i has label i mod 2; its source is drawn evenly among those of its label, then a picture
    evenly among those of the source. It depends on the seed and i alone, not on who loads it.

    Args:
        pictures: both labels occur; each at least `size` high and wide.
        size: side of a crop in pixels.
        samples: length of the sequence.
        seed: of every random choice.
    """

    def __init__(self, pictures: Sequence[Picture], size: int, samples: int, seed: int) -> None:
        self._sources = [_by_source(pictures, label) for label in range(len(LABEL_FOLDERS))]
        self._size, self._samples, self._seed = size, samples, seed

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> Sample:
        """The crop, uint8 [size, size, 3] BGR, and its label."""
        rng = np.random.default_rng((self._seed, index))
        label = index % len(LABEL_FOLDERS)
        picture = self._draw(label, rng)
        crop = random_crop(read_image(picture.path), self._size, rng)
        if picture.path.suffix.lower() not in _LOSSY_FILES:
            # Else compressed once against twice would be a label of its own.
            crop = first_jpeg(crop, rng)
        return random_jpeg(crop, rng), label

    def _draw(self, label: int, rng: np.random.Generator) -> Picture:
        sources = self._sources[label]
        pictures = sources[int(rng.integers(len(sources)))]
        return pictures[int(rng.integers(len(pictures)))]


def stacked(samples: Sequence[Sample]) -> tuple[Batch, FloatArray]:
    """Crops as uint8 [N, size, size, 3] BGR, and labels as float32 [N].

    Arrays, not tensors: loading processes hand tensors over by file descriptor, which leaves a
    traceback when Ctrl-C comes between.
    """
    crops, labels = zip(*samples, strict=True)
    return np.stack(crops), np.array(labels, dtype=np.float32)


def random_crop(image: Image, size: int, rng: np.random.Generator) -> Image:
    """A size×size part of an image [H, W, 3] at any offset, before it is compressed again.

    Any, so that neither class keeps the grid of its first compression or of its up-sampling.
    """
    height, width = image.shape[:2]
    top = int(rng.integers(height - size, endpoint=True))
    left = int(rng.integers(width - size, endpoint=True))
    return image[top : top + size, left : left + size]


def normalised(pixels: Image | Batch) -> Tensor:
    """uint8 […, H, W, 3] BGR → float32 […, 3, H, W] RGB, ImageNet-normalised."""
    rgb = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).movedim(-1, -3)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (rgb / 255.0 - mean[:, None, None]) / std[:, None, None]


def _by_source(pictures: Sequence[Picture], label: int) -> list[list[Picture]]:
    sources: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.label == label:
            sources[picture.source].append(picture)
    return [sources[name] for name in sorted(sources)]
