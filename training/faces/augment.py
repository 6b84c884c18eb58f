"""What is done to a face at random before it is learned from.

By kornia: under Apache-2.0, kept up, and in need of torch and numpy alone. Albumentations brings
a build of OpenCV and scipy with it, has had no release under the MIT licence since May 2025, and
its successor is under AGPL-3.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edge.errors import require
from edge.types import Image
from training.faces.config import AugmentConfig

if TYPE_CHECKING:
    from torch import nn


class Augment:
    """Changes faces at random, each by the numbers that its seed gives."""

    def __init__(self, settings: AugmentConfig) -> None:
        self._steps = _steps(settings)

    @torch.no_grad()
    def __call__(self, image: Image, seed: int) -> Image:
        """A changed copy of a face, uint8 [H, W, 3] BGR; the same seed gives the same.

        torch's common random state is left as it was.
        """
        x = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None] / 255.0
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for step in self._steps:
                x = step(x)
        rgb = (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        return np.ascontiguousarray(rgb[..., ::-1])


def _steps(settings: AugmentConfig) -> list[nn.Module]:
    kornia = require("kornia.augmentation", "change faces at random", "pip install kornia")
    s = settings
    return [
        kornia.RandomHorizontalFlip(p=s.flip),
        kornia.RandomAffine(degrees=s.degrees, scale=s.scale, p=1.0),
        kornia.RandomPerspective(distortion_scale=s.slant, p=s.perspective),
        kornia.ColorJitter(s.brightness, s.contrast, s.saturation, 0.0, p=1.0),
        kornia.RandomErasing(scale=s.erased_area, ratio=s.erased_ratio, value=0.0, p=s.erase),
    ]
