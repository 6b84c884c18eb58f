"""From grey levels to the preprocessed picture at full size, before any scale.

Differences are taken on whole grey levels: they stay exact in half precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.convolution import PaddedConv
from training.models.preprocess import IMAGENET_MEAN, KERNELS


class GradientPixels(nn.Module):
    """A gradient filter on grey levels less their mean; [N, 3, H, W] → the same, BGR."""

    mean: Tensor
    kernel: Tensor

    def __init__(self, kernel: str) -> None:
        super().__init__()
        mean = 255 * torch.tensor(IMAGENET_MEAN[::-1], dtype=torch.float64)
        self.register_buffer("mean", mean.float()[:, None, None])
        self.register_buffer("kernel", torch.tensor(KERNELS[kernel]).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Grey levels 0..255 → differences of grey levels."""
        return F.conv2d(x - self.mean, self.kernel, padding=1, groups=3)


def residual_blocks() -> PaddedConv:
    """NPR of each 2×2 block: [N, 3, H, W] → [N, 12, ⌈H/2⌉, ⌈W/2⌉], packed; the first 3 are zero."""
    weight = torch.zeros(2, 2, 3, 3, 2, 2)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        for colour in range(3):
            weight[row, column, colour, colour, row, column] = 1
            weight[row, column, colour, colour, 0, 0] = -1
    return PaddedConv(weight.flatten(0, 2), torch.zeros(12), stride=(2, 2), sides=(0, 0, 1, 1))


def without_zero_phase(blocks: PaddedConv, weight: Tensor) -> tuple[PaddedConv, Tensor]:
    """The corner of a block differs from itself by nothing: leave its 3 channels out."""
    kept = PaddedConv(blocks.weight[3:], blocks.bias[3:], blocks.stride, blocks.sides)
    return kept, weight[:, 3:]


def _unpacked_residuals() -> nn.Module:
    """NPR at full size: [N, 3, H, W] → [N, 3, H', W'], H' and W' rounded up to even."""
    blocks = residual_blocks()
    # A pixel shuffle wants all places of one colour together.
    order = torch.arange(12).reshape(4, 3).T.flatten()
    colours = PaddedConv(blocks.weight[order], blocks.bias[order], blocks.stride, blocks.sides)
    return nn.Sequential(colours, nn.PixelShuffle(2))


def full_size_pixels(preprocessing: str) -> nn.Module:
    """[N, 3, H, W] BGR grey levels → the same, preprocessed; for NPR H and W rounded up to even."""
    if preprocessing in KERNELS:
        return GradientPixels(preprocessing)
    return _unpacked_residuals() if preprocessing == "NPR" else nn.Identity()
