"""Parts of which the larger patch models are composed, and which export folds one by one.

Pixels reach them as *levels*: grey levels 0..255 less 127, over 128. Weights published for that
scale fit, a zero border means mid-grey, and every step of it is exact in half precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.manifest import PatchGrid
from training.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

CENTRE, SCALE = 127.0, 128.0
"""Levels are (grey level − CENTRE) / SCALE; of a difference of grey levels, difference / SCALE."""

Border = tuple[int, int]
"""Zeros put before (above and to the left) and after (below and to the right) a map."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one convolution does to the geometry of a map, rows and columns alike."""

    kernel: int
    stride: int = 1
    before: int = 0


def grid_of(steps: list[Step]) -> PatchGrid:
    """Where the patches of a chain of convolutions lie.

    Starting from one pixel (side 1, stride 1, offset 0), a step with kernel k, stride s and p
    zeros before the map gives

        side ← side + (k − 1)·stride,   offset ← offset − p·stride,   stride ← stride·s

    with the strides on the right those before the step (Araujo et al., Computing Receptive
    Fields of Convolutional Neural Networks, Distill 2019).
    """
    side, stride, offset = 1, 1, 0
    for step in steps:
        side += (step.kernel - 1) * stride
        offset -= step.before * stride
        stride *= step.stride
    return PatchGrid(receptive_field=side, stride=stride, offset=offset)


class Levels(nn.Module):
    """From ImageNet-normalised RGB to levels; both float32 [N, 3, H, W].

    Args:
        preprocessing: where it is not `raw`, values are differences, and have no centre.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocessing: str) -> None:
        super().__init__()
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        shift = (255 * mean - CENTRE) / SCALE if preprocessing == "raw" else torch.zeros(3)
        # Not persistent: constants are no weights.
        self.register_buffer("scale", (255 * std / SCALE)[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each colour."""
        return x * self.scale + self.shift


class ConvNorm(nn.Module):
    """A convolution in a border of zeros, a batch norm and an activation.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side.
        stride: step.
        border: zeros around the map.
        groups: of the convolution.
        activation: without weights; None for none.
        norm: of the convolution's outputs; a plain batch norm if None.

    Attributes:
        reads_levels: whether the input is RGB levels; export then turns the colours round.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        border: Border = (0, 0),
        groups: int = 1,
        activation: nn.Module | None = None,
        norm: nn.BatchNorm2d | None = None,
        reads_levels: bool = False,
    ) -> None:
        super().__init__()
        self.border = border
        self.reads_levels = reads_levels
        even = border[0] if border[0] == border[1] else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, even, groups=groups, bias=False)
        self.norm = norm or nn.BatchNorm2d(outputs)
        self.activation = activation or nn.Identity()

    @property
    def step(self) -> Step:
        """Its geometry."""
        return Step(self.conv.kernel_size[0], self.conv.stride[0], self.border[0])

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] → [N, outputs, h, w]."""
        before, after = self.border
        if before != after:
            x = F.pad(x, (before, after, before, after))
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out
