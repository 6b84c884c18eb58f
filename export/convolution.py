"""Convolutions with batch norms folded in, and with a border of zeros on chosen sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        stride: Sequence[int],
        sides: Sides,
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


def fold_batch_norm(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of a convolution without bias followed by a batch norm."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # no model here turns the statistics off
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    return weight.double() * scale[:, None, None, None], norm.bias.double() - mean * scale


def fixed_conv(weight: Tensor, bias: Tensor, stride: Sequence[int] = (1, 1)) -> nn.Conv2d:
    """A convolution without a border, of given weights."""
    outputs, inputs, height, width = weight.shape
    result = nn.Conv2d(inputs, outputs, (height, width), stride=(stride[0], stride[1]))
    result.weight.copy_(weight)
    assert result.bias is not None  # asked for by default
    result.bias.copy_(bias)
    return result
