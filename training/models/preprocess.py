"""What a picture is turned into before the first convolution.

Every preprocessing takes and gives float32 [N, 3, H, W], RGB, ImageNet-normalised, of the same
height and width, for any height and width, odd ones included.
"""

from __future__ import annotations

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.errors import UsageError
from edge.manifest import Preprocessing

PREPROCESSINGS: tuple[Preprocessing, ...] = get_args(Preprocessing)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel in the order RGB, for values in 0..1; every model expects its input so scaled."""

_X_GRAD = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
KERNELS: dict[str, tuple[tuple[float, ...], ...]] = {
    "x_grad": _X_GRAD,
    "y_grad": tuple(zip(*_X_GRAD, strict=True)),
    "left_diag": ((0.0, 1.0, 2.0), (-1.0, 0.0, 1.0), (-2.0, -1.0, 0.0)),
    "right_diag": ((-2.0, -1.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 2.0)),
}
"""The gradient filters, 3×3, as cross-correlations; the sum of each is zero."""


class NeighbouringPixels(nn.Module):
    """The up-sampling residual NPR: each pixel less the upper left one of its 2×2 block.

    Neighbouring Pixel Relationships, Tan et al., CVPR 2024, without their constant factor:
    y[i, j] = x[i, j] − x[2⌊i/2⌋, 2⌊j/2⌋].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Residual of x; both float32 [N, 3, H, W]."""
        # Sizes, not a factor of two, so that an odd last row or column keeps its own corner.
        return x - F.interpolate(x[:, :, ::2, ::2], size=x.shape[-2:], mode="nearest")


class Gradient(nn.Module):
    """A 3×3 gradient filter on each channel, with a border of zeros one pixel wide.

    Args:
        kernel: a key of `KERNELS`.
    """

    kernel: Tensor

    def __init__(self, kernel: str) -> None:
        super().__init__()
        weight = torch.tensor(KERNELS[kernel]).expand(3, 1, 3, 3).contiguous()
        # Not persistent: a constant is no weight, and published state dicts do not carry it.
        self.register_buffer("kernel", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filtered x; both float32 [N, 3, H, W]."""
        return F.conv2d(x, self.kernel, padding=1, groups=3)


def preprocessing_module(preprocessing: str) -> nn.Module:
    """Build a preprocessing; it has no parameters and nothing in its state dict.

    Raises:
        UsageError: the name is not known.
    """
    if preprocessing == "raw":
        return nn.Identity()
    if preprocessing == "NPR":
        return NeighbouringPixels()
    if preprocessing in KERNELS:
        return Gradient(preprocessing)
    known = ", ".join(PREPROCESSINGS)
    raise UsageError(f"preprocessing {preprocessing!r} is not known. Expected one of {known}.")


def preprocessing_margin(preprocessing: str) -> int:
    """Pixels by which a preprocessing widens a patch on every side.

    NPR adds none: it looks up and left within a 2×2 block, and patches start on even pixels.
    """
    return 1 if preprocessing in KERNELS else 0
