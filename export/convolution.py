"""Pieces of folded models: convolutions with what surrounds them inside, and first steps on pixels.

Differences are taken on whole grey levels, before any scale: they stay exact in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.preprocess import IMAGENET_MEAN, KERNELS

Sides = tuple[int, int, int, int]
"""Zeros above, to the left, below, to the right: the order of ONNX."""


class _PaddedConvolution(torch.autograd.Function):
    """A convolution in a border of zeros; in ONNX one Conv instead of Pad and Conv."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: list[int],
        sides: Sides,
        groups: int,
    ) -> Tensor:
        top, left, bottom, right = sides
        padded = F.pad(x, (left, right, top, bottom))
        return F.conv2d(padded, weight, bias, stride, groups=groups)

    @staticmethod
    def symbolic(
        g: Any, x: Any, weight: Any, bias: Any, stride: list[int], sides: Sides, groups: int
    ) -> Any:
        outputs, _, *kernel = weight.type().sizes()
        attributes = {
            "dilations_i": [1, 1],
            "group_i": groups,
            "kernel_shape_i": kernel,
            "pads_i": list(sides),
            "strides_i": stride,
        }
        result = g.op("Conv", x, weight, bias, **attributes)
        return result.setType(x.type().with_sizes([None, outputs, None, None]))


_padded_convolution = cast(Callable[..., Tensor], _PaddedConvolution.apply)


class PaddedConv(nn.Module):
    """A convolution whose input gets zeros on chosen sides."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        stride: Sequence[int] = (1, 1),
        sides: Sides = (0, 0, 0, 0),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.bias = nn.Parameter(bias.float(), requires_grad=False)
        self.stride = list(stride)
        self.sides = sides
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, O, h, w]."""
        return _padded_convolution(x, self.weight, self.bias, self.stride, self.sides, self.groups)


def fold_batch_norm(weight: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of a convolution without bias followed by a batch norm."""
    scale, shift = norm_as_affine(norm)
    return weight.double() * scale[:, None, None, None], shift


def norm_as_affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation mode as x·scale + shift, float64 [C] each."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # no model here turns the statistics off
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    return scale, norm.bias.double() - mean * scale


def normed_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> PaddedConv:
    """A convolution without bias and the batch norm behind it as one convolution."""
    return padded_like(conv, *fold_batch_norm(conv.weight, norm))


def padded_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> PaddedConv:
    """A convolution of other weights with the stride, border and groups of one."""
    rows, columns = (int(border) for border in conv.padding)
    return PaddedConv(weight, bias, conv.stride, (rows, columns, rows, columns), conv.groups)


class Shifted(nn.Module):
    """Grey levels less a constant of blue, green and red, which is what zeros beyond the edges then
    mean; a whole number for all is exact in half precision.
    """

    mean: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        mean = torch.tensor(levels, dtype=torch.float64).float()
        self.register_buffer("mean", mean[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


def without_mean() -> Shifted:
    """Grey levels less ImageNet's mean colour."""
    return Shifted((255 * torch.tensor(IMAGENET_MEAN[::-1], dtype=torch.float64)).tolist())


class GradientPixels(Shifted):
    """A gradient filter on grey levels less their mean; [N, 3, H, W] → the same, BGR."""

    kernel: Tensor

    def __init__(self, kernel: str) -> None:
        super().__init__(without_mean().mean.flatten().tolist())
        self.register_buffer("kernel", torch.tensor(KERNELS[kernel]).repeat(3, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x - self.mean, self.kernel, padding=1, groups=3)


def residual_blocks() -> PaddedConv:
    """NPR of each 2×2 block: [N, 3, H, W] → [N, 12, ⌈H/2⌉, ⌈W/2⌉], packed; the first 3 are zero."""
    weight = torch.zeros(2, 2, 3, 3, 2, 2)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        for colour in range(3):
            weight[row, column, colour, colour, row, column] = 1
            weight[row, column, colour, colour, 0, 0] = -1
    return PaddedConv(weight.flatten(0, 2), torch.zeros(12), stride=(2, 2), sides=(0, 0, 1, 1))


def full_size_pixels(preprocessing: str) -> nn.Module:
    """[N, 3, H, W] BGR grey levels → the same, preprocessed; for NPR H and W rounded up to even."""
    if preprocessing in KERNELS:
        return GradientPixels(preprocessing)
    if preprocessing != "NPR":
        return nn.Identity()
    blocks = residual_blocks()
    # A pixel shuffle wants all places of one colour together.
    order = torch.arange(12).reshape(4, 3).T.flatten()
    colours = PaddedConv(blocks.weight[order], blocks.bias[order], blocks.stride, blocks.sides)
    return nn.Sequential(colours, nn.PixelShuffle(2))
